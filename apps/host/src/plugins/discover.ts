/** Every plugin of the registry manifest, opened and checked without being run. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { type PluginManifest, pluginManifestSchema } from '@muster/core'
import semver from 'semver'
import { z } from 'zod'
import { type Loaded, loadDocument } from '../config/document.ts'
import type { NetworkSettings } from '../config/network.ts'
import type { Problem } from '../config/problem.ts'
import { checkAccepted, ofOtherShape } from './accepted.ts'
import { bundleDigest, filesDigest } from './build.ts'
import { hostContracts, negotiate } from './contract.ts'
import { openLocked } from './fetch.ts'
import { type LoadedLock, loadLock, type LockedPlugin, lockedFor, lockFileOf } from './lock.ts'
import { bareGround, type Ground } from './ground.ts'
import { demandLevel, dependsOnGround, type Isolation, isolationOf } from './isolation.ts'
import type { OriginDeps } from './origins.ts'
import type { Signer } from './provenance.ts'
import { PluginRefusal } from './refusal.ts'
import { keepsTrust } from './trust.ts'
import { type LoadedRegistry, loadRegistry, pathOf, type PluginEntry, type TrustPolicy } from './registry.ts'
import { remembered } from './remembered.ts'

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
  /** How far it is kept in on this machine. */
  isolation: Isolation
  /** Digest of all its files, as the lock has it; absent for a folder under development. */
  tree?: string
  /** One and the same for one and the same plugin. */
  digest: string
  /** Who signed it, as the lock has it; absent: somebody's word is for it. */
  signer?: Signer
}

export interface Discovery {
  plugins: DiscoveredPlugin[]
  /** Every alias of the file, the broken ones too. */
  aliases: string[]
  problems: Problem[]
  /** Who must have signed what. Absent: nobody. */
  trust?: TrustPolicy
}

interface PackageFile {
  name: string
  version: string
  muster?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  gypfile?: boolean
  /** Read where there is no lock. */
  files?: unknown
}

const packageSchema: z.ZodType<PackageFile> = z.object({
  name: z.string(),
  version: z.string(),
  muster: z.string().exactOptional(),
  dependencies: z.record(z.string(), z.string()).exactOptional(),
  optionalDependencies: z.record(z.string(), z.string()).exactOptional(),
  gypfile: z.boolean().exactOptional(),
  files: z.unknown().exactOptional(),
})

/** What runs in one file needs nothing beside it: the command that makes it so. */
const bundleCommand = 'npx tsup src/plugin.ts --format esm --platform node --no-external "/.*/"'

/** A manifest that is larger could not be told over the wire either, whose frames have as many. */
const maxDocumentBytes = 2 ** 20

/** Where unpacked bytes are looked for; what is not there is unpacked into the first. */
export type Stores = readonly [string, ...string[]]

export interface DiscoverOptions {
  stores: Stores
  /** Name of the registry manifest in problems. */
  shown: string
  /** Asked once, where a plugin depends on it. Absent: a user of its own is given to none. */
  ground?: () => Promise<Ground>
  /** By which locked bytes are fetched that are not here. */
  network?: NetworkSettings
}

const nowhere = (): Promise<Ground> => Promise.resolve(bareGround)

/** Reads the registry manifest, its lock and all its plugins; finds all problems, not the first. Resolves nothing, writes no lock. */
export async function discover(file: string, { stores, shown, network, ground = nowhere }: DiscoverOptions): Promise<Discovery> {
  const registry = await loadRegistry(file, shown)
  const lock = await loadLock(lockFileOf(file), lockFileOf(shown))
  const from = { registry, lock, stores, ground: remembered(ground), ...(network === undefined ? {} : { network }) }
  const results = await Promise.all(registry.entries.map((entry) => openPlugin(entry, from)))
  const plugins = results.flatMap((result) => (result.plugin === undefined ? [] : [result.plugin]))
  return {
    plugins,
    aliases: registry.entries.map((entry) => entry.alias),
    trust: registry.trust,
    problems: [
      ...registry.problems,
      ...lock.problems,
      ...results.flatMap((result) => result.problems),
      ...clashes(plugins, registry.problem),
    ],
  }
}

interface Opened {
  plugin?: DiscoveredPlugin
  problems: Problem[]
}

interface OpenFrom extends OriginDeps {
  registry: LoadedRegistry
  lock: LoadedLock
  stores: Stores
  ground: () => Promise<Ground>
}

async function openPlugin(entry: PluginEntry, from: OpenFrom): Promise<Opened> {
  const { registry, lock } = from
  // Told once, and not for each plugin.
  if (lock.problems.length > 0 && !('folder' in entry.source)) return { problems: [] }
  try {
    const opened = await openSource(entry, from)
    if (opened.plugin !== undefined) demandLevel(entry, opened.plugin.isolation)
    return opened
  } catch (error) {
    if (!(error instanceof PluginRefusal)) throw error
    return { problems: [registry.problem(['plugins', entry.alias], { at: 'key', reason: error.message, fix: error.fix })] }
  }
}

async function openSource(entry: PluginEntry, from: OpenFrom): Promise<Opened> {
  const { registry, lock, ground } = from
  if ('folder' in entry.source) return openPackage(entry, { root: await folderOf(entry, registry), registry, ground })
  const locked = lockedFor(entry, lock.lock)
  keepsTrust(locked, registry.trust)
  return openPackage(entry, { root: await openLocked(locked, from), registry, ground, locked })
}

async function folderOf({ source }: PluginEntry, { base }: LoadedRegistry): Promise<string> {
  const path = pathOf(source, base) ?? ''
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() !== true)
    throw new PluginRefusal('no-source', `the folder '${path}' does not exist`, 'correct the path')
  return path
}

export interface OpenPackage {
  /** Folder of the package's files. */
  root: string
  registry: Pick<LoadedRegistry, 'problem'>
  /** Asked where it depends on it. Absent: nobody has looked. */
  ground?: () => Promise<Ground>
  /** Absent: a folder under development. */
  locked?: Pick<LockedPlugin, 'version' | 'tree'> & Partial<Pick<LockedPlugin, 'permissions' | 'signer'>>
}

/** Reads what a package says of itself, and checks it. Error: PluginRefusal `other-permissions`. */
export async function openPackage(
  entry: PluginEntry,
  { root, registry, ground = nowhere, locked }: OpenPackage,
): Promise<Opened> {
  const shownRoot = locked === undefined ? root : `${entry.package}@${locked.version}`
  const shown = (name: string): string => `${shownRoot}/${name}`
  const pack = await readDocument(join(root, 'package.json'), shown('package.json'), packageSchema)
  if (pack.value === undefined) return { problems: pack.problems }
  const problems = await checkPackage(entry, { pack: pack.value, at: pack.problem, root, registry, locked })
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
  if (manifest.value === undefined) {
    const told = locked === undefined || manifest.unread ? manifest.problems : ofOtherShape(entry, manifest.problems)
    return { problems: [...problems, ...told] }
  }
  problems.push(...(await checkManifest(manifest.value, { pack: pack.value, at: manifest.problem, root })))
  const contract = negotiate(hostContracts, manifest.value.contract)
  if (problems.length > 0 || contract === undefined) return { problems }
  checkAccepted(entry, manifest.value, locked?.permissions)
  const main = resolve(root, manifest.value.entry)
  const { tree, signer } = locked ?? {}
  const { permissions, interpreter } = manifest.value
  const where = { entry, interpreter }
  const given = dependsOnGround(permissions, where) ? await ground() : bareGround
  return {
    problems,
    plugin: {
      ...{ alias: entry.alias, entry, manifest: manifest.value, root, main, contract },
      isolation: isolationOf(permissions, { ...where, ground: given }),
      ...(tree === undefined ? {} : { tree }),
      ...(signer === undefined ? {} : { signer }),
      digest:
        tree ??
        (await (interpreter === undefined ? bundleDigest : filesDigest)({ root, main, files: filesIn(pack.value, root) })),
    },
  }
}

/** Two aliases may be two versions of one package, or the same bytes twice; never the same version with different bytes. */
function clashes(plugins: readonly DiscoveredPlugin[], at: Loaded<unknown>['problem']): Problem[] {
  const seen = new Map<string, DiscoveredPlugin>()
  return plugins.flatMap((plugin) => {
    const key = `${plugin.manifest.name}@${plugin.manifest.version}`
    const other = seen.get(key) ?? plugin
    seen.set(key, other)
    if (other.digest === plugin.digest && other.root === plugin.root) return []
    return [
      at(['plugins', plugin.alias], {
        at: 'key',
        reason: `the aliases '${other.alias}' and '${plugin.alias}' clash: both are ${key}, with different files`,
        fix: 'use one source for both, or give one another version',
      }),
    ]
  })
}

async function readDocument<T>(path: string, shown: string, schema: z.ZodType<T>): Promise<Loaded<T> & { unread: boolean }> {
  const refused = (reason: string, fix: string): Loaded<T> & { unread: boolean } => {
    const problem: Problem = { file: shown, line: 1, column: 1, reason, fix }
    return { problems: [problem], problem: () => problem, unread: true }
  }
  try {
    if ((await stat(path)).size > maxDocumentBytes)
      return refused(`the file has more than ${maxDocumentBytes} bytes`, 'use another version, and tell its publisher')
    return { ...loadDocument(shown, await readFile(path, 'utf8'), schema), unread: false }
  } catch {
    return refused('the file is missing or cannot be read', 'pack the plugin with this file in it')
  }
}

interface PackageCheck {
  pack: PackageFile
  at: Loaded<unknown>['problem']
  root: string
  registry: Pick<LoadedRegistry, 'problem'>
  locked: OpenPackage['locked']
}

async function checkPackage(entry: PluginEntry, { pack, at, root, registry, locked }: PackageCheck): Promise<Problem[]> {
  const here = ['plugins', entry.alias]
  const problems: Problem[] = []
  if (pack.name !== entry.package)
    problems.push(
      registry.problem([...here, 'package'], {
        reason: `the source holds '${pack.name}', not '${entry.package}'`,
        fix: `write '${pack.name}', or use another source`,
      }),
    )
  const isWanted = locked === undefined ? semver.satisfies(pack.version, entry.version) : pack.version === locked.version
  if (!isWanted)
    problems.push(
      registry.problem([...here, 'version'], {
        reason: `the source holds version ${pack.version}, not ${locked?.version ?? entry.version}`,
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
  const native = locked === undefined ? undefined : await findNative(root)
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

function filesIn({ files }: PackageFile, root: string): string[] {
  return Array.isArray(files) ? files.filter((name) => typeof name === 'string' && inside(root, name)) : []
}

function inside(root: string, name: string): boolean {
  const way = relative(root, resolve(root, name))
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`)
}
