/** All providers of a deployment, each supervised in a process of its own; and the same started once, to check them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { LaunchSpec } from '@muster/core'
import type { LoadedConfig, MusterConfig } from '../config/load.ts'
import { reachesOut } from '../config/network.ts'
import type { Problem } from '../config/problem.ts'
import type { CallWitness, Fence, GuardedProvider, PluginRoom, ProviderStatus } from './api.ts'
import { type BundleLimits, dropBundles } from './bundle.ts'
import type { DiscoveredPlugin, Discovery } from './discover.ts'
import { defaultUsers } from './ground.ts'
import { createGuard } from './guard.ts'
import { probeOnce } from './health.ts'
import { openHolds } from './holds.ts'
import { type PluginProcess, retire } from './process.ts'
import { type PulseTimes, pulseTimes } from './pulse.ts'
import { createRedactor, type Redactor } from './redactor.ts'
import { secretReader } from './secrets.ts'
import { type StartFault, type StartOptions, startSession } from './session.ts'
import { type RoomLog, supervise, type Supervised, type Target } from './supervise.ts'
import { openUsers, type PluginUsers } from './users.ts'

export interface RoomDeps {
  config: MusterConfig
  discovery: Discovery
  owner: string
  fence: Fence
  log: RoomLog
  /** Told of every call to every provider. */
  witness?: CallWitness
  /** What live workers of a provider, and the runs in them, were given by a host before this one. Absent: there is none. */
  given?(provider: string): AsyncIterable<Partial<LaunchSpec>>
  now?(): number
  random?(): number
  /** For tests. */
  pulse?: PulseTimes
}

/** A process that was started beside the one that runs, and has not taken over. */
export interface Candidate {
  provider: string
  plugin: DiscoveredPlugin
  /** What its probe says besides. */
  notes: readonly string[]
  /** Questions alone: it changes nothing yet. */
  ask: Pick<GuardedProvider, 'list' | 'inspect'>
}

/** Another set of providers, started beside those that run. */
export interface Staged {
  /** Those that would take over from a process that runs. */
  candidates: readonly Candidate[]
  /** Names of providers that were given up before, are as they were, and are well now. */
  revived: readonly string[]
  /** They take over, in this turn. What is named no longer is leaving, and runs until it is dropped. */
  commit(): void
  /** They end again, and nothing has changed. */
  discard(): Promise<void>
}

export interface Wanted extends Pick<RoomDeps, 'config' | 'discovery'> {
  /** Alias of the one plugin that is looked at. Absent: all. */
  only?: string
}

export interface StartedRoom extends PluginRoom {
  /** Folders of the plugins that run. */
  roots(): string[]
  /** Resolves when each provider's first start has ended. */
  settled(): Promise<void>
  /**
   * Starts and probes each provider that is new or not as it was. When one fails, all of them end, and the problems say why. One that was
   * given up is tried again too; where it fails as before, nothing changes for it.
   */
  stage(next: Wanted, at: LoadedConfig['problem']): Promise<Staged | { problems: Problem[] }>
}

/** Starts every provider and resolves at once. */
export function startPlugins(deps: RoomDeps): StartedRoom {
  const { owner, fence, log } = deps
  const listeners = new Set<(status: ProviderStatus) => void>()
  const all = new Map<string, Supervised>()
  const leaving = new Set<string>()
  let { config } = deps
  const users = usersOf(config)
  const now = deps.now ?? Date.now
  const keepBundles = (): BundleLimits => ({ most: config.retention.crashes, ms: config.retention.crashesMs })
  dropBundles(config.data, now(), keepBundles()).catch((error: unknown) => log.warn({ err: error }, 'old crash bundles stay'))

  const redactorOf = (name: string): Redactor => {
    const { given } = deps
    return createRedactor(given === undefined ? undefined : () => given(name))
  }

  function start(target: Target, running: { redactor: Redactor; process?: PluginProcess }): void {
    const supervised = supervise({
      target,
      owner,
      users,
      fence,
      log,
      ...running,
      dataDir: config.data,
      ownDir: providerDir(config, target.provider),
      now,
      random: deps.random ?? Math.random,
      pulse: deps.pulse ?? pulseTimes,
      keepBundles,
      ...(deps.witness === undefined ? {} : { witness: deps.witness }),
      onChange(status) {
        for (const listener of listeners) listener(status)
      },
    })
    all.set(target.provider.name, supervised)
  }
  for (const { alias, root, tree, isolation } of deps.discovery.plugins) {
    const { level, because } = isolation
    log.info({ plugin: alias, level, ...(because === undefined ? {} : { because: because.fact }) }, 'isolation')
    if (tree === undefined)
      log.warn({ plugin: alias, folder: root }, 'DEVELOPMENT: a plugin is loaded from a folder, and nobody checks its files')
  }
  for (const target of targetsOf(deps)) start(target, { redactor: redactorOf(target.provider.name) })

  return {
    provider(name) {
      const found = all.get(name)
      if (found === undefined) throw new Error(`no provider is named '${name}'`)
      return found.provider
    },
    find: (name) => all.get(name)?.provider,
    list: () => [...all.values()].map((one) => one.provider),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    leaving: () => [...leaving],
    roots: () => [...all.values()].map((one) => one.target().plugin.root),
    clean: (name, text) => all.get(name)?.redactor.clean(text) ?? text,
    async drop(name) {
      if (!leaving.delete(name)) return
      const found = all.get(name)
      all.delete(name)
      await found?.stop()
    },
    async stage(next, at) {
      const wanted = targetsOf(next)
      const isFresh = (target: Target): boolean => !isDeepStrictEqual(all.get(target.provider.name)?.target(), target)
      const isGivenUp = ({ provider: { name } }: Target): boolean => all.get(name)?.provider.status().state === 'failed'
      const tried = wanted
        .filter(({ plugin }) => next.only === undefined || plugin.alias === next.only)
        .map((target) => ({ target, fresh: isFresh(target) }))
        .filter((one) => one.fresh || isGivenUp(one.target))
      const started = await Promise.all(
        tried.map(async ({ target, fresh }) => {
          const { name } = target.provider
          const redactor = all.get(name)?.redactor ?? redactorOf(name)
          const session = {
            ...target,
            owner,
            users,
            dataDir: providerDir(config, target.provider),
            redactor,
            epoch: fence.epoch(),
          }
          const probed = await startProbed({ ...session, onLine: (line) => log.debug({ provider: name }, line) })
          if (fresh || probed.fault === undefined) return { target, redactor, fresh, ...probed }
          if (probed.child !== undefined) await retire(probed.child, target.plugin.manifest.limits.retireMs)
          return { target, redactor, fresh, notes: [] }
        }),
      )
      const discard = async (): Promise<void> => {
        await Promise.all(
          started.map(async ({ child, target }) => child && retire(child, target.plugin.manifest.limits.retireMs)),
        )
      }
      const problems = started.flatMap(({ target, fault }) =>
        fault === undefined ? [] : [faultProblem(target.provider.name, { ...fault, at })],
      )
      if (problems.length > 0) {
        await discard()
        return { problems }
      }
      return {
        candidates: started.flatMap(({ target, fresh, child, redactor, notes }) =>
          fresh && child !== undefined && all.has(target.provider.name)
            ? [candidateOf(target, { child, redactor, notes, owner, fence })]
            : [],
        ),
        revived: started.flatMap(({ target, fresh, child }) => (fresh || child === undefined ? [] : [target.provider.name])),
        discard,
        commit() {
          config = next.config
          for (const { target, redactor, child } of started) {
            const running = all.get(target.provider.name)
            if (child === undefined) continue
            if (running === undefined) start(target, { redactor, process: child })
            else running.swap(target, child)
          }
          // It was leaving as it was, and was dropped since.
          for (const target of wanted)
            if (!all.has(target.provider.name)) start(target, { redactor: redactorOf(target.provider.name) })
          const names = new Set(wanted.map((target) => target.provider.name))
          for (const name of all.keys())
            if (names.has(name)) leaving.delete(name)
            else leaving.add(name)
        },
      }
    },
    async settled() {
      await Promise.all([...all.values()].map((one) => one.first))
    },
    async stop() {
      await Promise.all([...all.values()].map((one) => one.stop()))
    },
  }
}

interface Started extends Pick<RoomDeps, 'owner' | 'fence'> {
  child: PluginProcess
  redactor: Redactor
  notes: readonly string[]
}

function candidateOf({ plugin, provider }: Target, { child, redactor, notes, owner, fence }: Started): Candidate {
  const holds = openHolds()
  const { calls } = createGuard({
    tags: { 'muster-owner': owner, 'muster-provider': provider.name },
    fence: { epoch: () => fence.epoch(), mayAct: () => false },
    current: () => ({ worker: child.connection.worker, holds, inFlight: plugin.manifest.limits.inFlight }),
    secret: secretReader(provider.secrets),
    redactor,
    onFailure: () => undefined,
  })
  return { provider: provider.name, plugin, notes, ask: { list: calls.list, inspect: calls.inspect } }
}

function targetsOf({ config, discovery }: Pick<RoomDeps, 'config' | 'discovery'>): Target[] {
  return config.providers.flatMap((provider) => {
    const plugin = discovery.plugins.find((one) => one.alias === provider.alias)
    if (plugin?.manifest.kind !== 'worker-provider') return []
    const network = reachesOut(plugin.manifest) ? config.network : undefined
    return [{ plugin, provider, ...(network === undefined ? {} : { network }) }]
  })
}

function usersOf({ data, isolation: { users } }: Pick<MusterConfig, 'data' | 'isolation'>): PluginUsers {
  return openUsers({ range: users === 'off' ? defaultUsers : users, data })
}

/** A provider's own folder inside the data folder. */
function providerDir(config: Pick<MusterConfig, 'data'>, provider: { name: string }): string {
  return join(config.data, 'providers', provider.name)
}

export interface PluginCheck {
  problems: Problem[]
  /** What is no problem and still worth knowing, as `no isolation: same user`. */
  notes: { provider: string; text: string }[]
}

/** Starts every provider's plugin once, compares, configures, probes, and ends it; no worker is started, nothing is kept. */
export async function checkPlugins({
  config,
  discovery,
  at,
  refused = [],
}: {
  config: MusterConfig
  discovery: Discovery
  at: LoadedConfig['problem']
  /** Names of providers that are left out. */
  refused?: readonly string[]
}): Promise<PluginCheck> {
  const targets = targetsOf({ config, discovery }).filter(({ provider }) => !refused.includes(provider.name))
  const users = usersOf(config)
  const checks = await Promise.all(targets.map((target) => checkOne(target, { at, users })))
  return { problems: checks.flatMap((one) => one.problems), notes: checks.flatMap((one) => one.notes) }
}

async function checkOne(
  target: Target,
  { at, users }: { at: LoadedConfig['problem']; users: PluginUsers },
): Promise<PluginCheck> {
  const { name } = target.provider
  const dataDir = await mkdtemp(join(tmpdir(), 'muster-check-'))
  const session = { ...target, owner: 'check', users, dataDir, redactor: createRedactor(), onLine: () => undefined, epoch: 0 }
  try {
    const { child, fault, notes } = await startProbed(session)
    if (child !== undefined) await retire(child, target.plugin.manifest.limits.retireMs)
    return {
      problems: fault === undefined ? [] : [faultProblem(name, { ...fault, at })],
      notes: notes.map((text) => ({ provider: name, text })),
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}

interface Probed {
  /** Absent when it could not be started. */
  child?: PluginProcess
  fault?: { reason: string; fix: string }
  notes: string[]
}

/** A configured process that has been probed once. */
async function startProbed(options: StartOptions & { epoch: number }): Promise<Probed> {
  const { redactor, epoch } = options
  let child: PluginProcess
  try {
    child = await startSession(options)
  } catch (error) {
    const { message, hint } = error as StartFault
    return { fault: { reason: `cannot start: ${message}`, fix: hint }, notes: [] }
  }
  const found = await probeOnce(child, { epoch, secret: secretReader(options.provider.secrets), redactor })
  const notes = found.notes ?? []
  if (found.state !== 'failed') return { child, notes }
  const reason = `is not usable: ${redactor.clean(found.message ?? 'its probe failed')}`
  return { child, fault: { reason, fix: found.hint ?? 'see the reason' }, notes }
}

function faultProblem(name: string, { reason, fix, at }: { reason: string; fix: string; at: LoadedConfig['problem'] }): Problem {
  const subject = reason.startsWith('cannot start') ? `the plugin of '${name}'` : `provider '${name}'`
  return at(['providers', name], { at: 'key', reason: `${subject} ${reason}`, fix })
}
