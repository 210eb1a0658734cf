/** One ESM file that needs nothing but Node, and a manifest that fits package.json. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { type AuthorFolder, openAuthor } from './author.ts'
import { PluginFault } from './finding.ts'

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
      fix: 'run: muster-plugin test',
    })
  await bundle(author, source)
  return { entry: author.entry, bytes: (await stat(join(author.folder, author.entry))).size, renamed }
}

/** Name and version have one home, package.json; whatever raises the version raises the manifest's with the next build. */
async function fitManifest({ folder, pack, manifest, manifestFile }: AuthorFolder): Promise<boolean> {
  if (manifest.name === pack.name && manifest.version === pack.version) return false
  const file = join(folder, manifestFile)
  const text = await readFile(file, 'utf8')
  // In place, so that the author's own order and form stay.
  const value = { ...(JSON.parse(text) as object), name: pack.name, version: pack.version }
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`)
  return true
}

async function bundle({ folder, entry }: AuthorFolder, source: string): Promise<void> {
  try {
    await build({
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
    })
  } catch (error) {
    const { errors } = error as { errors?: { text: string; location: { file: string; line: number; column: number } | null }[] }
    if (errors === undefined) throw error
    throw new PluginFault(
      ...errors.map(({ text, location }) => ({
        place: location === null ? source : `${location.file}:${location.line}:${location.column + 1}`,
        reason: text,
        fix: 'correct it, or install what is missing as a devDependency',
      })),
    )
  }
}
