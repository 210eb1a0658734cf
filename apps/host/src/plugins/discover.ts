/** Every plugin of the registry manifest, opened and checked without being run. */
import { stat } from 'node:fs/promises'
import type { Loaded } from '../config/document.ts'
import type { NetworkSettings } from '../config/network.ts'
import type { Problem } from '../config/problem.ts'
import { demandHeap } from './accepted.ts'
import { clashProblem } from './clash.ts'
import { openLocked } from './fetch.ts'
import { type LoadedLock, loadLock, lockedFor, lockFileOf } from './lock.ts'
import type { Ground } from './ground.ts'
import { demandLevel } from './isolation.ts'
import type { OriginDeps } from './origins.ts'
import { type DiscoveredPlugin, nowhere, openPackage, type Opened } from './package.ts'
import { PluginRefusal, problemOf } from './refusal.ts'
import { keepsTrust } from './trust.ts'
import { type LoadedRegistry, loadRegistry, pathOf, type PluginEntry, type TrustPolicy } from './registry.ts'
import { remembered } from './remembered.ts'
import { byHand, wayOfLocked } from './way-out.ts'

export interface Discovery {
  plugins: DiscoveredPlugin[]
  /** Every alias of the file, the broken ones too. */
  aliases: string[]
  problems: Problem[]
  /** Who must have signed what. Absent: nobody. */
  trust?: TrustPolicy
}

/** Where unpacked bytes are looked for; what is not there is unpacked into the first. */
export type Stores = readonly [string, ...string[]]

export interface DiscoverOptions {
  stores: Stores
  /** Name of the registry manifest in problems. */
  shown: string
  /** Asked once, where a plugin depends on it. Absent: a user of its own is given to none. */
  ground?: () => Promise<Ground>
  /** The largest heap that one may ask for. Absent: any. */
  maxHeapMb?: number
  /** What runs goes on whatever is found: there is nothing to go back to. */
  beside?: boolean
  /** By which locked bytes are fetched that are not here. */
  network?: NetworkSettings
}

/** Reads the registry manifest, its lock and all its plugins; finds all problems, not the first. Resolves nothing, writes no lock. */
export async function discover(
  file: string,
  { stores, shown, network, maxHeapMb, beside = false, ground = nowhere }: DiscoverOptions,
): Promise<Discovery> {
  const registry = await loadRegistry(file, shown)
  const lock = await loadLock(lockFileOf(file), lockFileOf(shown))
  const from = {
    registry,
    lock,
    stores,
    ground: remembered(ground),
    maxHeapMb,
    beside,
    ...(network === undefined ? {} : { network }),
  }
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

interface OpenFrom extends OriginDeps {
  registry: LoadedRegistry
  lock: LoadedLock
  stores: Stores
  ground: () => Promise<Ground>
  maxHeapMb: number | undefined
  beside: boolean
}

async function openPlugin(entry: PluginEntry, from: OpenFrom): Promise<Opened> {
  const { registry, lock } = from
  // Told once, and not for each plugin.
  if (lock.problems.length > 0 && !('folder' in entry.source)) return { problems: [] }
  const locked = Object.hasOwn(lock.lock.plugins, entry.alias) ? lock.lock.plugins[entry.alias] : undefined
  const mended = (problem: Problem): Problem =>
    from.beside ? problem : { ...problem, fix: wayOfLocked(problem, { entry, locked }) }
  try {
    const opened = await openSource(entry, from)
    if (opened.plugin !== undefined) {
      demandLevel(entry, opened.plugin.isolation)
      demandHeap(entry, opened.plugin.manifest, from.maxHeapMb)
    }
    return { ...opened, problems: opened.problems.map(mended) }
  } catch (error) {
    return { problems: [mended(problemOf(error, { alias: entry.alias, at: registry.problem }))] }
  }
}

async function openSource(entry: PluginEntry, from: OpenFrom): Promise<Opened> {
  const { registry, lock, ground } = from
  if ('folder' in entry.source) return openPackage(entry, { root: await folderOf(entry, registry), registry, ground })
  const locked = lockedFor(entry, lock.lock)
  keepsTrust(locked, registry.trust)
  return openPackage(entry, { root: await openLocked(locked, from), registry, ground, locked })
}

async function folderOf({ alias, source }: PluginEntry, { base, problem }: LoadedRegistry): Promise<string> {
  const path = pathOf(source, base) ?? ''
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() !== true)
    throw new PluginRefusal(
      'no-source',
      `the folder '${path}' does not exist`,
      byHand('correct the path', problem(['plugins', alias], { reason: '', fix: '' }).file),
    )
  return path
}

/** In what is there, folders under development included. */
function clashes(plugins: readonly DiscoveredPlugin[], at: Loaded<unknown>['problem']): Problem[] {
  const seen = new Map<string, DiscoveredPlugin>()
  return plugins.flatMap((plugin) => {
    const key = `${plugin.manifest.name}@${plugin.manifest.version}`
    const other = seen.get(key) ?? plugin
    seen.set(key, other)
    if (other.digest === plugin.digest && other.root === plugin.root) return []
    return [clashProblem({ of: key, other: other.alias, alias: plugin.alias }, at)]
  })
}
