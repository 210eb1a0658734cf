/** What each plugin under development adds to what the daemon runs by: a plugin, a provider and a pool, all of one name. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { z } from 'zod'
import { crossCheck } from './config/check.ts'
import { type LoadedConfig, type MusterConfig, parseConfig, type ProviderConfig } from './config/load.ts'
import type { Problem } from './config/problem.ts'
import type { PoolConfig } from './engine/model.ts'
import type { Discovery } from './plugins/discover.ts'
import { type DiscoveredPlugin, openPackage } from './plugins/package.ts'
import { type Ground, openGround } from './plugins/ground.ts'
import { jsonOf, namedIn } from './plugins/origin.ts'

type Section = Readonly<Record<string, unknown>>

/** What the files of the deployment say, read. */
export interface Deployment {
  config: MusterConfig
  discovery: Discovery
}

/** As it is asked for. */
export interface DevAsked {
  name: string
  /** Absolute path, on this machine. */
  folder: string
  /** Milliseconds since 1970. */
  until: number
  /** As in `muster.yaml`, without `plugin`. */
  provider: Section
  /** As in `muster.yaml`, without `placement`. */
  pool: Section
}

/** As it lies in the data folder. */
export interface DevKept extends DevAsked {
  /** It was taken away, and has workers left. */
  ending?: true
}

export interface DevPart {
  asked: DevAsked
  /** It was taken away before this daemon started: it is there for its last workers alone. */
  ending?: true
  plugin: DiscoveredPlugin
  provider: ProviderConfig
  pool: PoolConfig
}

/** With what is under development; what runs by it is not of any file. */
export function withDev<T extends Deployment>(given: T, parts: readonly DevPart[]): T {
  if (parts.length === 0) return given
  const { config, discovery } = given
  return {
    ...given,
    config: {
      ...config,
      providers: [...config.providers, ...parts.map((one) => one.provider)],
      pools: [...config.pools, ...parts.flatMap(({ ending, pool }) => (ending === true ? [] : [pool]))],
    },
    discovery: {
      ...discovery,
      plugins: [...discovery.plugins, ...parts.map((one) => one.plugin)],
      aliases: [...discovery.aliases, ...parts.map((one) => one.asked.name)],
    },
  }
}

/** Is the name one of the configuration's own? */
export function isTaken(name: string, { config, discovery }: Deployment): boolean {
  return [...config.providers, ...config.pools].some((one) => one.name === name) || discovery.aliases.includes(name)
}

/** Problems of what is in no file of the deployment. */
export function devProblem(name: string): LoadedConfig['problem'] {
  return (_path, { reason, fix }) => ({ file: name, line: 1, column: 1, reason, fix })
}

/** Reads the plugin, and checks both sections as those of `muster.yaml` are. */
export async function openPart(asked: DevAsked, config: MusterConfig): Promise<{ part?: DevPart; problems: Problem[] }> {
  const { name, folder } = asked
  const at = devProblem(name)
  const refuse = (reason: string, fix: string): { problems: Problem[] } => ({ problems: [at([], { reason, fix })] })
  if (!isAbsolute(folder)) return refuse(`'${folder}' is no absolute path`, 'name the folder from the root on')
  const named = namedIn(await readFile(join(folder, 'package.json'), 'utf8').catch(() => ''))
  if (named === undefined) return refuse(`the folder '${folder}' has no package.json with name and version`, 'correct the path')
  const entry = { alias: name, package: named.name, version: named.version, source: { folder } }
  const ground = (): Promise<Ground> => openGround({ data: config.data, users: config.isolation.users })
  const { plugin, problems } = await openPackage(entry, { root: folder, registry: { problem: at }, ground })
  if (plugin === undefined) return { problems }
  const loaded = parseConfig(
    config.file,
    JSON.stringify({
      providers: { [name]: { ...asked.provider, plugin: name } },
      pools: { [name]: { ...asked.pool, placement: [name] } },
    }),
    name,
  )
  const [provider, pool] = [loaded.config?.providers[0], loaded.config?.pools[0]]
  if (provider === undefined || pool === undefined) return { problems: loaded.problems }
  const wrong = crossCheck(
    { ...loaded, config: { ...config, providers: [provider], pools: [pool] } },
    new Map([[name, plugin.manifest]]),
    {
      strictly: true,
    },
  )
  return wrong.length > 0 ? { problems: wrong } : { part: { asked, plugin, provider, pool }, problems: [] }
}

const section = z.record(z.string(), z.unknown())
const keptSchema: z.ZodType<DevKept[]> = z.array(
  z.strictObject({
    ...{ name: z.string(), folder: z.string(), until: z.int(), provider: section, pool: section },
    ending: z.literal(true).exactOptional(),
  }),
)

/** In the data folder. */
export function devFile(data: string): string {
  return join(data, 'development.json')
}

export function keptOf({ asked, ending }: DevPart): DevKept {
  return ending === true ? { ...asked, ending } : asked
}

/** By rename: a daemon that is killed leaves it whole. */
export async function keepDev(file: string, all: readonly DevKept[]): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeFile(`${file}.new`, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600, flush: true })
  await rename(`${file}.new`, file)
}

export interface ReadDev {
  parts: DevPart[]
  /** Why the others cannot be opened any more. */
  lost: Problem[]
  /** These others. */
  unopened: DevKept[]
}

/**
 * What a daemon before this one had; `working`: names of providers with live workers. What was taken away, and all of it where nobody allows
 * it any more, is opened for its last workers alone, and forgotten without any.
 */
export async function readDev(found: Deployment, working: ReadonlySet<string>): Promise<ReadDev> {
  const { config } = found
  const file = devFile(config.data)
  const text = await readFile(file, 'utf8').catch(() => '[]')
  const kept = keptSchema.safeParse(jsonOf(text))
  if (!kept.success) {
    const fix = 'remove it; workers of what was attached are missing their provider then'
    return { parts: [], lost: [devProblem(file)([], { reason: 'the file is damaged', fix })], unopened: [] }
  }
  const all = kept.data.map((one): DevKept => (config.development ? one : { ...one, ending: true }))
  const needed = all.filter(({ name, ending }) => ending !== true || working.has(name))
  if (needed.length < all.length) await keepDev(file, needed)
  const opened = await Promise.all(
    needed.map(async (one) => {
      const { ending, ...asked } = one
      const { part, problems } = await openKept(asked, found)
      if (part === undefined) return { parts: [], lost: problems, unopened: [one] }
      return { parts: [ending === true ? { ...part, ending } : part], lost: [], unopened: [] }
    }),
  )
  return {
    parts: opened.flatMap((one) => one.parts),
    lost: opened.flatMap((one) => one.lost),
    unopened: opened.flatMap((one) => one.unopened),
  }
}

async function openKept(asked: DevAsked, found: Deployment): ReturnType<typeof openPart> {
  if (!isTaken(asked.name, found)) return openPart(asked, found.config)
  const problem = { reason: 'the configuration has this name now', fix: 'give it another one there' }
  return { problems: [devProblem(asked.name)([], problem)] }
}
