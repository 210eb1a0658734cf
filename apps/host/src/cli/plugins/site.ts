/** What the plugin commands work on: the registry manifest and the lock of a deployment, without its daemon. */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { type LoadedConfig, loadConfig } from '../../config/load.ts'
import type { NetworkSettings } from '../../config/network.ts'
import type { Problem } from '../../config/problem.ts'
import type { Stores } from '../../plugins/discover.ts'
import { defaultUsers, type Ground, openGround } from '../../plugins/ground.ts'
import { type LoadedLock, loadLock, lockFileOf, type Waiver } from '../../plugins/lock.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import { type LoadedRegistry, type PluginEntry, readRegistry } from '../../plugins/registry.ts'

export interface Site extends AsyncDisposable {
  /** Absolute paths. */
  registryFile: string
  lockFile: string
  /** As people see them. */
  shown: string
  /** The registry manifest as it is; undefined: there is none yet. */
  text: string | undefined
  registry: LoadedRegistry
  lock: LoadedLock
  stores: Stores
  /** What is unpacked and not needed is kept for so long. */
  unpackedMs: number
  /** The largest heap that a plugin may ask for, where a configuration says which deployment it is. */
  maxHeapMb?: number
  /** What this machine gives to keep plugins in, as whoever runs the command. */
  ground(): Promise<Ground>
  network?: NetworkSettings
  /** Providers by the alias of their plugin. */
  providers: Readonly<Record<string, string[]>>
  problems: Problem[]
}

/** Where no configuration says it: its default. */
const unpackedMs = 30 * 86_400_000

export interface SiteOptions {
  config?: string
  data?: string
  /** The registry manifest, where no configuration tells it. */
  manifest?: string
}

/** The deployment of a configuration; of the current folder, where there is none. */
export async function openSite({ config: given, data, manifest }: SiteOptions): Promise<Site> {
  const file = given ?? 'muster.yaml'
  const isMeant = given !== undefined || (manifest === undefined && existsSync(file))
  const loaded = isMeant ? await loadConfig(file) : undefined
  const config = loaded?.config ?? loaded?.partial?.config
  const registryFile =
    manifest === undefined ? (config?.pluginsFile ?? resolve(dirname(file), 'plugins.json')) : resolve(manifest)
  const way = relative(process.cwd(), registryFile)
  const shown = way.startsWith('..') ? registryFile : way
  const text = existsSync(registryFile) ? await readFile(registryFile, 'utf8') : undefined
  const registry = readRegistry(text ?? '{ "plugins": {} }', { base: dirname(registryFile), shown })
  const lockFile = lockFileOf(registryFile)
  const lock = await loadLock(lockFile, lockFileOf(shown))
  const folder = data ?? config?.data ?? join(dirname(registryFile), '.muster')
  const store = await storeOf(folder)
  return {
    ...{ registryFile, lockFile, shown, text, registry, lock },
    stores: [store.path],
    unpackedMs: config?.retention.unpackedMs ?? unpackedMs,
    ground: () => openGround({ data: folder, users: config?.isolation.users ?? defaultUsers }),
    ...(config?.network === undefined ? {} : { network: config.network }),
    ...(config === undefined ? {} : { maxHeapMb: config.isolation.maxHeapMb }),
    providers: providersOf(loaded),
    problems: [...(config === undefined ? (loaded?.problems ?? []) : []), ...registry.problems, ...lock.problems],
    [Symbol.asyncDispose]: store.drop,
  }
}

/** That of the daemon, where it has one; else what is unpacked is only looked at. */
async function storeOf(data: string): Promise<{ path: string; drop: () => Promise<void> }> {
  const dir = resolve(data)
  if (existsSync(dir)) return { path: join(dir, 'plugins'), drop: () => Promise.resolve() }
  const path = await mkdtemp(join(tmpdir(), 'muster-plugins-'))
  return { path, drop: () => rm(path, { recursive: true, force: true }) }
}

function providersOf(loaded: LoadedConfig | undefined): Site['providers'] {
  const found: Record<string, string[]> = {}
  for (const { alias, name } of loaded?.config?.providers ?? []) (found[alias] ??= []).push(name)
  return found
}

/** Error: PluginRefusal `no-package`. */
export function entryOf({ registry, shown }: Site, alias: string): PluginEntry {
  const found = registry.entries.find((one) => one.alias === alias)
  if (found !== undefined) return found
  const known = registry.entries.map((one) => one.alias).join(', ')
  const fix = `run: muster plugins${known === '' ? ' add --help; there is none yet' : `; there are: ${known}`}`
  throw new PluginRefusal('no-package', `${shown} names no plugin '${alias}'`, fix)
}

/** In the name of whoever runs the command. */
export function waiverOf(reason: string | undefined, now: number): { waiver?: Waiver } {
  if (reason === undefined) return {}
  if (reason.trim() === '')
    throw new PluginRefusal(
      'no-trust',
      'a word for a plugin says why, and this one says nothing',
      'run: the same command again with --waive "I have read it", if you have and trust it',
    )
  return { waiver: { by: whoAmI(), at: new Date(now).toISOString(), reason } }
}

/** A container may run under a number that has no name. */
function whoAmI(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
