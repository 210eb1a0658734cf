/** One ESM file that needs nothing but Node, and a manifest that fits package.json. */
import { watch } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginManifest } from '@muster/core'
import { build, type BuildOptions, context, type Plugin } from 'esbuild'
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

/** Nothing is built: its entry and its manifest are what a host looks at. */
function watchFiles({ folder, entry, manifestFile }: AuthorFolder, built: () => void): { stop(): Promise<void> } {
  const ends = new AbortController()
  for (const name of [entry, manifestFile]) watch(join(folder, name), { signal: ends.signal }, built)
  built()
  return { stop: async () => ends.abort() }
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
