/** One ESM file that needs nothing but Node, and a manifest that fits package.json. */
import { type FSWatcher, readdirSync, statSync, watch } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import type { PluginManifest } from '@muster/core'
import { isDerived } from '@muster/packed/named'
import { build, type BuildOptions, context, type Plugin } from 'esbuild'
import { type AuthorFolder, insideOf, openAuthor } from './author.ts'
import { PluginFault } from './finding.ts'
import { authorTool } from '@muster/packed/refusals'

export interface Built {
  entry: string
  bytes: number
  /** The manifest was changed to say what package.json says. */
  renamed: boolean
}

const defaultSource = 'src/plugin.ts'
/** As Node itself names it. */
const target = 'node26'

/** Error: PluginFault. */
export async function buildPlugin(folder: string, source: string = defaultSource): Promise<Built> {
  const renamed = await fitManifest(await openAuthor(folder))
  const author = await openAuthor(folder)
  if (author.manifest.interpreter !== undefined)
    throw new PluginFault({
      place: author.manifestAt(['interpreter']),
      reason: `${author.manifest.interpreter} runs the entry as it is: there is nothing to build`,
      fix: `run: ${authorTool} test`,
    })
  await bundle(author, source)
  return { entry: author.entry, bytes: (await stat(join(author.folder, author.entry))).size, renamed }
}

/** Name and version have one home, package.json; whatever raises the version raises the manifest's with the next build. */
async function fitManifest({ folder, pack, manifest, manifestFile }: AuthorFolder): Promise<boolean> {
  if (manifest.name === pack.name && manifest.version === pack.version) return false
  await changeManifest({ folder, manifestFile }, { name: pack.name, version: pack.version })
  return true
}

/** In place, so that the author's own order stays. */
export async function changeManifest(
  { folder, manifestFile }: Pick<AuthorFolder, 'folder' | 'manifestFile'>,
  change: Partial<PluginManifest>,
): Promise<void> {
  const file = join(folder, manifestFile)
  const value = { ...(JSON.parse(await readFile(file, 'utf8')) as object), ...change }
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`)
}

async function bundle(author: AuthorFolder, source: string): Promise<void> {
  try {
    await build(bundleOptions(author, source))
  } catch (error) {
    throw bundleFault(error, source)
  }
}

export interface Watching {
  /** After each build that worked, the first too. */
  built(): void
  /** Instead. */
  failed(fault: PluginFault): void
}

/** Builds with each change of a source, until it is stopped. Error: PluginFault. */
export async function watchPlugin(
  folder: string,
  { source = defaultSource, built, failed }: Watching & { source?: string },
): Promise<{ stop(): Promise<void> }> {
  await fitManifest(await openAuthor(folder))
  const author = await openAuthor(folder)
  if (author.manifest.interpreter !== undefined) return watchFiles(author, built)
  const told: Plugin = {
    name: 'told',
    setup({ onEnd }) {
      onEnd(({ errors }) => {
        const fault = errors.length === 0 ? undefined : bundleFault({ errors }, source)
        if (fault instanceof PluginFault) failed(fault)
        else built()
      })
    },
  }
  const building = await context({ ...bundleOptions(author, source), plugins: [told] })
  await building.watch()
  return { stop: () => building.dispose() }
}

/** A save of an editor is several changes. */
const quietMs = 100

/** Nothing is built: what would be packed is what a host looks at. By folders: who saves by rename puts another file in its place. */
function watchFiles({ folder, pack, entry, manifestFile }: AuthorFolder, built: () => void): { stop(): Promise<void> } {
  const named = [entry, manifestFile, 'package.json', ...(pack.files ?? [])].flatMap((name) => insideOf(folder, name) ?? [])
  const isNamed = (path: string): boolean =>
    !isDerived(path) && named.some((way) => path === way || path.startsWith(`${way}${sep}`))
  let open: FSWatcher[] = []
  let timer: NodeJS.Timeout | undefined

  function look(): void {
    const before = open
    open = [...foldersOf(folder, named)].map((at) =>
      watch(join(folder, at), (_event, name) => {
        if (name !== null && !isNamed(join(at, name))) return
        clearTimeout(timer)
        timer = setTimeout(changed, quietMs)
      }).on('error', () => undefined),
    )
    for (const one of before) one.close()
  }

  /** There may be other folders now. */
  function changed(): void {
    look()
    built()
  }

  changed()
  return {
    async stop() {
      clearTimeout(timer)
      for (const one of open) one.close()
    },
  }
}

/** Those that these lie in, and those that they are, with all below; relative to the folder. */
function foldersOf(folder: string, named: readonly string[]): Set<string> {
  const found = new Set(named.map((way) => dirname(way)))
  for (const way of named) {
    if (!isFolder(join(folder, way))) continue
    found.add(way)
    for (const name of readdirSync(join(folder, way), { recursive: true, encoding: 'utf8' }))
      if (!isDerived(name) && isFolder(join(folder, way, name))) found.add(join(way, name))
  }
  return new Set([...found].filter((at) => isFolder(join(folder, at))))
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

/** The bytes that a build would make, and the map from them to the sources; nothing is written. */
export async function bundleOf(author: AuthorFolder, source: string = defaultSource): Promise<{ code: Buffer; map: string }> {
  const { outputFiles } = await build({ ...bundleOptions(author, source), write: false, sourcemap: 'external' })
  const of = (end: string): Uint8Array => outputFiles.find(({ path }) => path.endsWith(end))?.contents ?? new Uint8Array()
  return { code: Buffer.from(of(author.entry)), map: Buffer.from(of('.map')).toString() }
}

function bundleOptions({ folder, entry }: AuthorFolder, source: string): BuildOptions {
  return {
    absWorkingDir: folder,
    entryPoints: [source],
    outfile: entry,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target,
    logLevel: 'silent',
    legalComments: 'none',
    // Sources where there are some: of a checkout of Muster itself.
    conditions: ['@muster/source'],
    // CommonJS packages inside an ESM file call `require` for Node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  }
}

function bundleFault(error: unknown, source: string): unknown {
  const { errors } = error as { errors?: { text: string; location: { file: string; line: number; column: number } | null }[] }
  if (errors === undefined) return error
  return new PluginFault(
    ...errors.map(({ text, location }) => ({
      place: location === null ? source : `${location.file}:${location.line}:${location.column + 1}`,
      reason: text,
      fix: 'correct it, or install what is missing as a devDependency',
    })),
  )
}
