/** Reads the configuration and every plugin's manifest, and finds all that is wrong with them before anything is started. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { crossCheck, refusedProviders } from './config/check.ts'
import { loadConfig, type LoadedConfig, type MusterConfig } from './config/load.ts'
import { type NetworkFault, readNetwork } from './config/network.ts'
import { checkPlaces } from './config/places.ts'
import { type Problem, sortProblems } from './config/problem.ts'
import { readTls, type TlsFault } from './config/tls.ts'
import { discover, type Discovery, type DiscoverOptions, type Stores } from './plugins/discover.ts'
import { discoverPrevious, type Previous } from './plugins/previous.ts'
import { openGround } from './plugins/ground.ts'

export interface Examined {
  problems: Problem[]
  at: LoadedConfig['problem']
  /** Absent when the configuration itself cannot be read. */
  found?: {
    config: MusterConfig
    discovery: Discovery
    /** The file as written. */
    written: unknown
    /** Names of providers that need not be started to know that they are wrong. */
    refused: string[]
  }
}

/** `stores`: where plugins are unpacked, by the configuration that was read. `strictly`: the schemas of plugins are checked themselves. */
export async function examine(
  file: string,
  stores: (config: MusterConfig) => Stores,
  { strictly = false }: { strictly?: boolean } = {},
): Promise<Examined> {
  const loaded = await loadConfig(file)
  const { config } = loaded
  const readable = config ?? loaded.partial?.config
  if (readable === undefined)
    return { problems: sortProblems([...loaded.problems, ...(await besides(file))]), at: loaded.problem }
  const discovery = await discovered(readable, stores(readable))
  const manifests = new Map(
    discovery.aliases.map(
      (alias) => [alias, discovery.plugins.find((plugin) => plugin.alias === alias)?.manifest ?? null] as const,
    ),
  )
  const problems = sortProblems([
    ...loaded.problems,
    ...discovery.problems,
    ...crossCheck(loaded, manifests, { strictly }),
    ...checkPlaces(loaded),
    ...(await checkTls(loaded)),
    ...(await checkNetwork(loaded)),
  ])
  if (config === undefined) return { problems, at: loaded.problem }
  const refused = problems.length === 0 ? [] : refusedProviders(loaded, manifests)
  return { problems, at: loaded.problem, found: { config, discovery, written: loaded.written, refused } }
}

async function checkTls({ config, problem: at }: LoadedConfig): Promise<Problem[]> {
  if (config?.tls === undefined) return []
  try {
    await readTls(config.tls)
    return []
  } catch (error) {
    const { which, message, fix } = error as TlsFault
    return [at(['host', 'tls', which], { reason: message, fix })]
  }
}

async function checkNetwork({ config, problem: at }: LoadedConfig): Promise<Problem[]> {
  if (config?.network === undefined) return []
  try {
    await readNetwork(config.network)
    return []
  } catch (error) {
    const { key, message, fix } = error as NetworkFault
    return [at(['host', 'network', key], { reason: message, fix })]
  }
}

/** By a configuration, or one with another registry manifest: with all that the machine gives to keep plugins in. */
async function discovered(by: Manifest, stores: Stores): Promise<Discovery> {
  return discover(by.pluginsFile, await optionsOf(by, stores))
}

/** By files that stand for those of a configuration while what runs goes on: they are told of by the names of these. */
export async function discoveredBeside(file: string, by: Manifest, stores: Stores): Promise<Discovery> {
  return discover(file, { ...(await optionsOf(by, stores)), beside: true })
}

/** The version of an alias that the lock of a configuration holds as the one before. */
export async function previousOf(alias: string, { config, stores }: { config: MusterConfig; stores: Stores }): Promise<Previous> {
  return discoverPrevious(config.pluginsFile, alias, await optionsOf(config, stores))
}

type Manifest = Pick<MusterConfig, 'pluginsFile' | 'network'> & Partial<Pick<MusterConfig, 'isolation'>>

async function optionsOf({ pluginsFile, network, isolation }: Manifest, stores: Stores): Promise<DiscoverOptions> {
  const shown = relative(process.cwd(), pluginsFile)
  // The last store is always that of the data folder.
  const data = dirname(stores.at(-1) ?? '')
  return {
    stores,
    ...(isolation === undefined
      ? {}
      : { ground: () => openGround({ data, users: isolation.users }), maxHeapMb: isolation.maxHeapMb }),
    shown: shown.startsWith('..') ? pluginsFile : shown,
    ...(network === undefined ? {} : { network }),
  }
}

/** What is wrong with the plugins beside a configuration that cannot be read: said in the same round. */
async function besides(file: string): Promise<Problem[]> {
  const registry = join(dirname(file), 'plugins.json')
  if (!existsSync(registry)) return []
  const store = await mkdtemp(join(tmpdir(), 'muster-check-'))
  try {
    return (await discovered({ pluginsFile: registry }, [store])).problems
  } finally {
    await rm(store, { recursive: true, force: true })
  }
}
