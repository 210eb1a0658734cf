/** A new plugin in a folder of its own: everything that it needs to be built, tested, packed and published. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Why nothing was made. */
export class CreateFault extends Error {
  override readonly name = 'CreateFault'
  readonly fix: string
  constructor(message: string, fix: string) {
    super(message)
    this.fix = fix
  }
}

export interface Created {
  folder: string
  /** Relative to it. */
  files: string[]
}

export interface CreateOptions {
  /** As npm will know it. */
  name: string
  /** Default: the name without its scope, in the current folder. */
  folder?: string
}

const template = fileURLToPath(new URL('../template', import.meta.url))
/** As in a manifest. */
const namePattern = /^(?:@[a-z0-9-~][a-z0-9-._~]*\/)?[a-z0-9-~][a-z0-9-._~]*$/
/** npm takes no longer one. */
const maxName = 214

/** Errors: CreateFault; nothing is written then. */
export async function createPlugin({ name, folder }: CreateOptions): Promise<Created> {
  if (!namePattern.test(name) || name.length > maxName)
    throw new CreateFault(
      `'${name}' is no name of a package: it has small letters, digits and -._~, after a scope or without one`,
      'give it a name as muster-plugin-cloud or @acme/muster-plugin-cloud',
    )
  const root = resolve(folder ?? name.replace(/^.*\//, ''))
  await refuseFull(root)
  const words = { name, version: await ownVersion() }
  const files: string[] = []
  for (const source of await templateFiles()) {
    // npm leaves out and renames files of these names: they are packed under others.
    const path = relative(template, source)
      .split('/')
      .map((part) => part.replace(/^_(?=github$|gitignore$)/, '.').replace(/^_/, ''))
      .join('/')
    const text = await readFile(source, 'utf8')
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), filled(text, words), { flag: 'wx' })
    files.push(path)
  }
  return { folder: root, files: files.sort() }
}

/** What somebody has written is never lost. */
async function refuseFull(root: string): Promise<void> {
  if (!existsSync(root)) return
  const found = await readdir(root).catch(() => undefined)
  if (found?.length === 0) return
  throw new CreateFault(
    found === undefined ? `${root} is no folder` : `${root} is not empty: it has ${found.slice(0, 3).join(', ')}`,
    'name an empty folder, or one that is not there yet: npm create @muster/plugin NAME FOLDER',
  )
}

async function templateFiles(): Promise<string[]> {
  const entries = await readdir(template, { recursive: true, withFileTypes: true })
  return entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
}

function filled(text: string, words: Readonly<Record<string, string>>): string {
  return text.replaceAll(/__(NAME|VERSION)__/g, (_, word: string) => words[word.toLowerCase()] ?? '')
}

/** The packages of Muster have one version. */
async function ownVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
