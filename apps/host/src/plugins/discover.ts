/** Every plugin of the registry manifest, opened and checked without being run. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { type PluginManifest, pluginManifestSchema } from '@muster/core'
import { z } from 'zod'
import { type Loaded, loadDocument } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import { hostContracts, negotiate } from './contract.ts'
import { type LoadedRegistry, loadRegistry, type PluginEntry } from './registry.ts'
import { openSource, SourceError } from './source.ts'

export interface DiscoveredPlugin {
  alias: string
  entry: PluginEntry
  manifest: PluginManifest
  /** Folder of the package's files. */
  root: string
  /** Absolute path of the one file that runs. */
  main: string
  /** The contract version both speak. */
  contract: string
  /** SHA-256 of the file that runs. */
  digest: string
}

export interface Discovery {
  plugins: DiscoveredPlugin[]
  /** Every alias of the file, the broken ones too. */
  aliases: string[]
  problems: Problem[]
}

interface PackageFile {
  name: string
  version: string
  muster?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  gypfile?: boolean
}

const packageSchema: z.ZodType<PackageFile> = z.object({
  name: z.string(),
  version: z.string(),
  muster: z.string().exactOptional(),
  dependencies: z.record(z.string(), z.string()).exactOptional(),
  optionalDependencies: z.record(z.string(), z.string()).exactOptional(),
  gypfile: z.boolean().exactOptional(),
})

/** What runs in one file needs nothing beside it: the command that makes it so. */
const bundleCommand = 'npx tsup src/plugin.ts --format esm --platform node --no-external "/.*/"'

/** Reads the registry manifest and all its plugins; finds all problems, not the first. `store` holds unpacked tarballs. */
export async function discover(file: string, { store, shown }: { store: string; shown: string }): Promise<Discovery> {
  const registry = await loadRegistry(file, shown)
  const results = await Promise.all(registry.entries.map((entry) => openPlugin(entry, { store, registry })))
  return {
    plugins: results.flatMap((result) => (result.plugin === undefined ? [] : [result.plugin])),
    aliases: registry.entries.map((entry) => entry.alias),
    problems: [...registry.problems, ...results.flatMap((result) => result.problems)],
  }
}

interface Opened {
  plugin?: DiscoveredPlugin
  problems: Problem[]
}

async function openPlugin(entry: PluginEntry, { store, registry }: { store: string; registry: LoadedRegistry }): Promise<Opened> {
  const here = ['plugins', entry.alias]
  let root: string
  try {
    root = await openSource(entry.source, store)
  } catch (error) {
    const fix = error instanceof SourceError ? error.fix : 'see the reason'
    return { problems: [registry.problem([...here, 'source'], { reason: (error as Error).message, fix })] }
  }
  const shownRoot = entry.source.kind === 'tarball' ? `${entry.source.path}!` : entry.source.path
  const shown = (name: string): string => `${shownRoot}/${name}`
  const pack = await readDocument(join(root, 'package.json'), shown('package.json'), packageSchema)
  if (pack.value === undefined) return { problems: pack.problems }
  const problems = await checkPackage(entry, { pack: pack.value, at: pack.problem, root, registry })
  const manifestName = pack.value.muster
  if (manifestName === undefined) return { problems }
  if (!inside(root, manifestName))
    return {
      problems: [
        ...problems,
        pack.problem(['muster'], { reason: `'${manifestName}' is outside the package`, fix: 'name a file of the package' }),
      ],
    }
  const manifest = await readDocument(join(root, manifestName), shown(manifestName), pluginManifestSchema)
  if (manifest.value === undefined) return { problems: [...problems, ...manifest.problems] }
  problems.push(...(await checkManifest(manifest.value, { pack: pack.value, at: manifest.problem, root })))
  const contract = negotiate(hostContracts, manifest.value.contract)
  if (problems.length > 0 || contract === undefined) return { problems }
  const main = resolve(root, manifest.value.entry)
  return {
    problems,
    plugin: { alias: entry.alias, entry, manifest: manifest.value, root, main, contract, digest: await digestOf(main) },
  }
}

async function readDocument<T>(path: string, shown: string, schema: z.ZodType<T>): Promise<Loaded<T>> {
  try {
    return loadDocument(shown, await readFile(path, 'utf8'), schema)
  } catch {
    const problem: Problem = {
      file: shown,
      line: 1,
      column: 1,
      reason: 'the file is missing or cannot be read',
      fix: 'pack the plugin with this file in it',
    }
    return { problems: [problem], problem: () => problem }
  }
}

interface PackageCheck {
  pack: PackageFile
  at: Loaded<unknown>['problem']
  root: string
  registry: LoadedRegistry
}

async function checkPackage(entry: PluginEntry, { pack, at, root, registry }: PackageCheck): Promise<Problem[]> {
  const here = ['plugins', entry.alias]
  const problems: Problem[] = []
  if (pack.name !== entry.package)
    problems.push(
      registry.problem([...here, 'package'], {
        reason: `the source holds '${pack.name}', not '${entry.package}'`,
        fix: `write '${pack.name}', or use another source`,
      }),
    )
  if (pack.version !== entry.version)
    problems.push(
      registry.problem([...here, 'version'], {
        reason: `the source holds version ${pack.version}, not ${entry.version}`,
        fix: `write ${pack.version}, or use another source`,
      }),
    )
  const needed = Object.keys({ ...pack.dependencies, ...pack.optionalDependencies })
  if (needed.length > 0) {
    const key =
      pack.dependencies === undefined || Object.keys(pack.dependencies).length === 0 ? 'optionalDependencies' : 'dependencies'
    problems.push(
      at([key], {
        at: 'key',
        reason: `a plugin has no runtime dependencies, and this one has ${needed.join(', ')}`,
        fix: `bundle it: ${bundleCommand}; then list them as devDependencies`,
      }),
    )
  }
  // A folder under development has its tools beside it; only what would be packed counts.
  const native = entry.source.kind === 'tarball' ? await findNative(root) : undefined
  if (pack.gypfile === true || native !== undefined)
    problems.push(
      at([], {
        reason: `a plugin has no native addons, and this one has ${native ?? 'a gypfile'}`,
        fix: `use a library without native code, then: ${bundleCommand}`,
      }),
    )
  if (pack.muster === undefined)
    problems.push(
      at([], { reason: 'the package names no plugin manifest', fix: 'add "muster": "muster-plugin.json" to package.json' }),
    )
  return problems
}

async function findNative(root: string): Promise<string | undefined> {
  const names = await readdir(root, { recursive: true })
  return names.find((name) => name.endsWith('.node') || name.endsWith('binding.gyp'))
}

interface ManifestCheck {
  pack: PackageFile
  at: Loaded<unknown>['problem']
  root: string
}

async function checkManifest(manifest: PluginManifest, { pack, at, root }: ManifestCheck): Promise<Problem[]> {
  const problems: Problem[] = []
  for (const key of ['name', 'version'] as const)
    if (manifest[key] !== pack[key])
      problems.push(
        at([key], {
          reason: `the manifest says ${key} ${manifest[key]}, package.json says ${pack[key]}`,
          fix: `write ${pack[key]}`,
        }),
      )
  if (negotiate(hostContracts, manifest.contract) === undefined)
    problems.push(
      at(['contract'], {
        reason: `it speaks contract ${manifest.contract.join(', ')}, this host ${hostContracts.join(', ')}`,
        fix: 'use a version of the plugin (or of the host) with a common major',
      }),
    )
  if (!inside(root, manifest.entry))
    problems.push(at(['entry'], { reason: `'${manifest.entry}' is outside the package`, fix: 'name a file of the package' }))
  else if ((await readFile(resolve(root, manifest.entry)).catch(() => undefined)) === undefined)
    problems.push(
      at(['entry'], { reason: `the entry '${manifest.entry}' does not exist`, fix: 'build the plugin before it is packed' }),
    )
  return problems
}

async function digestOf(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex')
}

function inside(root: string, name: string): boolean {
  const way = relative(root, resolve(root, name))
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`)
}
