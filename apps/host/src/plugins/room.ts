/** All providers of a deployment, each supervised in a process of its own. */
import { isDeepStrictEqual } from 'node:util'
import type { LaunchSpec } from '@muster/core'
import type { LoadedConfig, MusterConfig } from '../config/load.ts'
import type { Problem } from '../config/problem.ts'
import type { CallWitness, Fence, GuardedProvider, PluginRoom, ProviderStatus } from './api.ts'
import { type BundleLimits, dropBundles } from './bundle.ts'
import { faultProblem, startProbed, targetOf, targetsOf, usersOf } from './check.ts'
import type { Discovery } from './discover.ts'
import type { DiscoveredPlugin } from './package.ts'
import { createGuard } from './guard.ts'
import { openHolds } from './holds.ts'
import { joined, type Joined } from './joined.ts'
import { type KeptPlugin, openKeptRoom, refusedProvider } from './kept.ts'
import { ownFolders, providerDir } from './own-folders.ts'
import type { PluginProcess } from './process.ts'
import { type PulseTimes, pulseTimes } from './pulse.ts'
import { createRedactor, type Redactor } from './redactor.ts'
import { secretReader } from './secrets.ts'
import { retire } from './retire.ts'
import { type RoomLog, supervise, type Supervised } from './supervise.ts'
import type { Target } from './target.ts'

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
  /** Those that the configuration names no longer and that have something left: there for that alone. Absent: none. */
  leaving?: readonly Target[]
  /** What a host before this one has kept. Absent: nothing. */
  kept?: readonly KeptPlugin[]
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
  /**
   * They take over, in this turn. What is named no longer is leaving, and runs until it is dropped. Of the providers in `keep` the version
   * before goes on beside.
   */
  commit(keep?: ReadonlySet<string>): void
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
  /** Told when the version of a provider that runs cannot start by its own fault, and again with each further try. Returns the unsubscriber. */
  onUnfit(listener: (name: string, reason: string) => void): () => void
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
  const own = ownFolders(log)
  const listeners = new Set<(status: ProviderStatus) => void>()
  const all = new Map<string, Supervised>()
  const leaving = new Set<string>()
  let { config } = deps
  const faces = new Map<string, Joined>()
  const keptListeners = new Set<(name: string) => void>()
  const unfitListeners = new Set<(name: string, reason: string) => void>()
  const kept = openKeptRoom((name) => faces.get(name)?.changed())
  let ownerOf: Parameters<StartedRoom['ownedBy']>[0] = () => undefined
  const users = usersOf(config)
  const now = deps.now ?? Date.now
  const keepBundles = (): BundleLimits => ({ most: config.retention.crashes, ms: config.retention.crashesMs })
  dropBundles(config.data, now(), keepBundles()).catch((error: unknown) => log.warn({ err: error }, 'old crash bundles stay'))

  const redactorOf = (name: string): Redactor => {
    const { given } = deps
    return createRedactor(given === undefined ? undefined : () => given(name))
  }

  interface Beginning {
    redactor: Redactor
    process?: PluginProcess
    handed?: true
    kept?: true
  }
  function open(target: Target, running: Beginning, onChange: (status: ProviderStatus) => void): Supervised {
    return supervise({
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
      onChange,
      onUnfit(reason) {
        const { name } = target.provider
        // One that is kept has had its turn.
        if (running.kept !== true) for (const listener of unfitListeners) listener(name, reason)
      },
    })
  }

  function start(target: Target, running: Beginning): void {
    const { name } = target.provider
    const supervised = open(target, running, (status) => {
      for (const listener of listeners) listener(status)
    })
    all.set(name, supervised)
    const main = (): GuardedProvider => (all.get(name) ?? supervised).provider
    faces.set(
      name,
      joined({ main, kept: () => kept.of(name), ownerOf: (worker) => ownerOf(worker), retiring: () => kept.retiring(name) }),
    )
  }

  function keep(target: Target, running: Beginning): void {
    const { name } = target.provider
    const supervised = open(target, { ...running, kept: true }, () => {
      for (const listener of keptListeners) listener(name)
    })
    kept.add(name, { version: target.plugin.manifest.version, provider: supervised.provider, supervised })
  }
  for (const { alias, root, tree, isolation } of deps.discovery.plugins) {
    const { level, because } = isolation
    log.info({ plugin: alias, isolation: level, ...(because === undefined ? {} : { because: because.fact }) }, 'isolation')
    if (tree === undefined)
      log.warn({ plugin: alias, folder: root }, 'DEVELOPMENT: a plugin is loaded from a folder, and nobody checks its files')
  }
  for (const target of targetsOf(deps)) start(target, { redactor: redactorOf(target.provider.name) })
  for (const target of deps.leaving ?? []) {
    const { name } = target.provider
    // What is attached for development may have taken its name.
    if (all.has(name)) continue
    start(target, { redactor: redactorOf(name) })
    leaving.add(name)
  }
  for (const { provider: name, version, found } of deps.kept ?? []) {
    const running = all.get(name)
    if (running === undefined) continue
    const { redactor } = running
    if ('plugin' in found) keep(targetOf(running.target().provider, { plugin: found.plugin, config }), { redactor })
    else {
      const main = (): GuardedProvider => running.provider
      kept.add(name, { version, provider: refusedProvider(found.refused, { main, redactor, fence, since: now() }) })
    }
  }

  /** The older version with the same configuration, where it is not what it has. */
  function keptOf({ provider }: Target, next: MusterConfig): Target[] {
    const running = kept.supervised(provider.name)
    if (running === undefined) return []
    const target = targetOf(provider, { plugin: running.target().plugin, config: next })
    return isDeepStrictEqual(running.target(), target) ? [] : [target]
  }

  function swapKept(target: Target, child: PluginProcess): void {
    const running = kept.supervised(target.provider.name)
    // It was let go meanwhile, or another one is kept in its place.
    if (running?.target().plugin !== target.plugin) void retire(child, target.plugin.manifest.limits.retireMs)
    else running.swap(target, child)
  }

  const find = (name: string): GuardedProvider | undefined => faces.get(name)?.provider
  return {
    provider(name) {
      const found = find(name)
      if (found === undefined) throw new Error(`no provider is named '${name}'`)
      return found
    },
    find: (name, worker) => (worker === undefined ? find(name) : faces.get(name)?.serving(worker)),
    list: () => [...faces.values()].map((one) => one.provider),
    onUnfit(listener) {
      unfitListeners.add(listener)
      return () => void unfitListeners.delete(listener)
    },
    onKept(listener) {
      keptListeners.add(listener)
      return () => void keptListeners.delete(listener)
    },
    ownedBy: (owner) => {
      ownerOf = owner
    },
    letGo: kept.letGo,
    wake: async (name) => all.get(name)?.wake(),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    leaving: () => [...leaving],
    roots: () => [...all.values()].map((one) => one.target().plugin.root).concat(kept.roots()),
    clean: (name, text) => all.get(name)?.redactor.clean(text) ?? text,
    async drop(name, { left = false } = {}) {
      if (!leaving.delete(name)) return
      const found = all.get(name)
      const known = !left && ['ready', 'degraded'].includes(found?.provider.status().state ?? '')
      all.delete(name)
      faces.delete(name)
      kept.letGo(name)
      await own.remove(name, { folder: providerDir(config, { name }), known, ended: found?.stop() ?? Promise.resolve() })
    },
    async stage(next, at) {
      const wanted = targetsOf(next)
      const begun = await own.begin(wanted.map(({ provider }) => provider.name))
      const isFresh = (target: Target): boolean => !isDeepStrictEqual(all.get(target.provider.name)?.target(), target)
      const older = wanted.flatMap((target) => keptOf(target, next.config))
      const isGivenUp = ({ provider: { name } }: Target): boolean => all.get(name)?.provider.status().state === 'failed'
      const tried = wanted
        .filter(({ plugin }) => next.only === undefined || plugin.alias === next.only)
        .map((target) => ({ target, fresh: isFresh(target) }))
        .filter((one) => one.fresh || isGivenUp(one.target))
        .map((one) => ({ ...one, older: false }))
        .concat(older.map((target) => ({ target, fresh: true, older: true })))
      const started = await Promise.all(
        tried.map(async ({ target, fresh, older: isOlder }) => {
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
          if (fresh || probed.fault === undefined) return { target, redactor, fresh, isOlder, ...probed }
          if (probed.child !== undefined) await retire(probed.child, target.plugin.manifest.limits.retireMs)
          return { target, redactor, fresh, isOlder, notes: [] }
        }),
      )
      const discard = async (): Promise<void> => {
        begun()
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
        candidates: started.flatMap(({ target, fresh, isOlder, child, redactor, notes }) =>
          fresh && !isOlder && child !== undefined && all.has(target.provider.name)
            ? [candidateOf(target, { child, redactor, notes, owner, fence })]
            : [],
        ),
        revived: started.flatMap(({ target, fresh, child }) => (fresh || child === undefined ? [] : [target.provider.name])),
        discard,
        commit(keeping) {
          config = next.config
          for (const { target, redactor, child, isOlder } of started) {
            const { name } = target.provider
            const running = all.get(name)
            if (child === undefined) continue
            if (isOlder) swapKept(target, child)
            else if (running === undefined) start(target, { redactor, process: child })
            else if (keeping?.has(name) === true) {
              const before = running.target()
              const process = running.takeOver(target, child)
              keep(before, { redactor, ...(process === undefined ? {} : { process, handed: true }) })
            } else running.swap(target, child)
          }
          // It was leaving as it was, and was dropped since.
          for (const target of wanted)
            if (!all.has(target.provider.name)) start(target, { redactor: redactorOf(target.provider.name) })
          begun()
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
      await Promise.all([...[...all.values()].map((one) => one.stop()), kept.stop()])
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
