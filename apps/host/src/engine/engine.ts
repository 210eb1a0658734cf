/** The engine, put together: memory filled from the store, parts wired, started and stopped. */
import type { Fence, GuardedProvider, PluginRoom } from '../plugins/api.ts'
import type { Sealer } from '../store/seal.ts'
import { type Store, StoreError } from '../store/store.ts'
import { type Tracing, untraced } from '../observe/trace.ts'
import { agentRoom } from './agents.ts'
import type { Agents, Engine, EngineSettings, PoolStatus, Wishing } from './api.ts'
import { type Clock, systemClock } from './clock.ts'
import { openConditions } from './conditions.ts'
import { configureOf } from './configure.ts'
import { background, type Context } from './context.ts'
import { deadlines as deadlinesOf } from './deadlines.ts'
import { type Follower, followerOf } from './follow.ts'
import { giveUpOf } from './give-up.ts'
import { handOf } from './hand.ts'
import { openJournal } from './journal.ts'
import { noteWhere } from './elsewhere.ts'
import { keptPlugins, keptVersions } from './kept.ts'
import { killpoint, type PassKillPoint } from './killpoint.ts'
import { type Launcher, launcherOf } from './launcher.ts'
import { leaseRoom } from './lease.ts'
import { load, type Unopened } from './load.ts'
import { type Observer, observerOf } from './loop.ts'
import { engineMemory } from './memory.ts'
import type { PoolConfig } from './model.ts'
import { openOrphans } from './orphans.ts'
import { passesOf } from './passes.ts'
import { poolRoom } from './pool.ts'
import { poolStatuses } from './pool-status.ts'
import { openPreparation, type Preparation } from './prepare.ts'
import { startRetention } from './retention.ts'
import { tellSilence } from './silence.ts'
import { clearStale } from './stale.ts'
import { engineState } from './state.ts'
import { tracesOf } from './traces.ts'
import { followHolders } from './marks.ts'
import { type UsageRoom, usageRoom } from './usage.ts'
import { watchdogOf } from './watchdog.ts'
import { watchersOf } from './watchers.ts'
import { upgradesOf } from './upgrade.ts'
import { openWishes, showWishes, type Wish } from './wishes.ts'
import { workerRoom } from './workers.ts'

export interface EngineOptions extends EngineSettings {
  store: Store
  sealer: Sealer
  fence: Fence
  plugins: PluginRoom
  pools: readonly PoolConfig[]
  /** Why providers that the configuration names no longer are missing, where that is known. */
  unopened?: Unopened
  /** How long open calls may go on after `stop`. Default 10 s; what is aborted is in doubt at the next start, and repeated. */
  drainMs?: number
  clock?: Clock
  killpoint?: PassKillPoint
  /** Absent: contexts are passed on, no span is recorded. */
  tracing?: Tracing
  /** Told of what went wrong inside and was not lost by it. */
  report?: (message: string, error: unknown) => void
}

const DRAIN_MS = 10_000

/** Starts from what the store has: `launching` and `terminating` workers are in doubt, so their calls are repeated with the same id and spec. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const stop = new AbortController()
  const clock = options.clock ?? systemClock
  const { store, sealer, fence, plugins } = options
  const journal = await openJournal(store, clock)
  const context: Context = {
    store,
    sealer,
    fence,
    plugins,
    clock,
    settings: options,
    state: engineState(options.pools),
    journal,
    conditions: await openConditions(store, clock, journal),
    wishes: await openWishes(store),
    kept: await keptPlugins(store),
    doubtful: new Set(),
    unfit: new Set(),
    killpoint: options.killpoint ?? killpoint,
    tracing: options.tracing ?? untraced,
    stopping: stop.signal,
    startedAt: clock.now(),
    report: (message, error) => {
      // What ails the store is told once, by its own condition.
      if (!(error instanceof StoreError)) options.report?.(message, error)
    },
  }
  const parts = await assemble(context)
  await load(context, parts.launcher, options.unopened)
  noteWhere(context)
  const kept = keptVersions(context, parts)
  const { state } = context
  const showHeld = (): void =>
    showWishes(context.conditions, context.wishes, {
      pool: [...state.pools.values()].flatMap(({ config }) => (config.placement.length > 0 ? [config.name] : [])),
      provider: plugins.list().map((provider) => provider.name),
    })
  showHeld()
  clearStale(context, parts.memory)
  const hand = handOf(context, parts)
  const listAll = (name?: string): Promise<unknown> => Promise.all(observers(name).map((observer) => observer.list()))
  const unsubscribe = plugins.onChange((status) => {
    tellSilence(context.conditions, status)
    if (status.state === 'ready') {
      parts.memory.forgive(status.name, 'restarted')
      parts.preparation.forget(status.name)
      parts.preparation.tidy(status.name)
    }
    parts.launcher.takeBack()
    parts.launcher.calls.pump(status.name)
    parts.passes.poke()
    if (status.state === 'ready') parts.relist(status.name)
  })
  const unsubscribeKept = plugins.onKept((name) => {
    kept.show(name)
    parts.launcher.calls.pump(name)
    if (plugins.find(name)?.status().kept?.state === 'ready') parts.relist(name)
  })
  // Of a wish that the host before this one could only store.
  parts.launcher.takeBack()
  parts.passes.start()
  const observing = new Set<string>()
  const atStart = new Set(plugins.list().map((provider) => provider.name))
  function observe(): void {
    for (const name of observing) {
      if (plugins.find(name) !== undefined) continue
      parts.forget(name)
      for (const names of [observing, atStart]) names.delete(name)
    }
    for (const { name } of plugins.list()) {
      observing.add(name)
      parts.launcher.calls.pump(name)
      parts.preparation.tidy(name)
      parts.observer(name)?.start()
      parts.usage.follow(plugins.provider(name))
    }
  }
  observe()
  parts.passes.poke()
  startRetention(context)

  const configure = configureOf(context, { ...parts, kept, observe, showHeld })
  const pools = poolStatuses(context, parts)
  const wishOfPool = async (name: string, how: Wishing & { wish?: Wish }): Promise<PoolStatus> => {
    await hand.wish('pool', name, how)
    return pools.of(state.pool(name))
  }
  const wishOfProvider = async (name: string, how: Wishing & { wish?: Wish }): Promise<GuardedProvider> => {
    const provider = plugins.find(name)
    await hand.wish('provider', name, how)
    return provider ?? plugins.provider(name)
  }
  const observers = (name?: string): Observer[] =>
    plugins.list().flatMap((one) => (name === undefined || name === one.name ? (parts.observer(one.name) ?? []) : []))
  return {
    owner: options.owner,
    store,
    sealer,
    clock,
    plugins,
    leases: leaseRoom(context, parts),
    workers: workerRoom(context),
    agents: parts.agents,
    journal: context.journal,
    events: context.journal.events,
    conditions: context.conditions,
    usage: parts.usage.usage,
    changes: { onWorker: state.onWorker, onLease: state.onLease, onDecision: context.journal.onDecision },
    acting: () => fence.mayAct(),
    looked: (name) => ({
      ...(parts.observer(name)?.look() ?? { looked: false }),
      ...(atStart.has(name) ? {} : { late: true }),
    }),
    pools: {
      list: pools.list,
      get: pools.get,
      pause: (name, how) => wishOfPool(name, { ...how, wish: 'paused' }),
      drain: (name, how) => wishOfPool(name, { ...how, wish: 'draining' }),
      resume: wishOfPool,
    },
    providers: {
      wish: (name) => context.wishes.of('provider', name),
      orphans: (name) => parts.orphans.told(name),
      disable: (name, how) => wishOfProvider(name, { ...how, wish: 'disabled' }),
      enable: wishOfProvider,
      forget: giveUpOf(context, { ...parts, kept, observe }),
    },
    providerOf: (worker) => plugins.find(worker.provider, worker.id),
    reconcile: async (name, by) => {
      // Whoever asks for a look has mended something, or wants to know; a run misses its worker.
      if (name !== undefined) await plugins.wake(name)
      if (by !== 'run') parts.memory.mended(name === undefined ? plugins.list().map((one) => one.name) : [name])
      parts.passes.poke()
      await listAll(name)
    },
    orphans: (name) => parts.orphans.list(name),
    reclaimOrphans: async (name) => {
      const before = parts.orphans.count(name)
      parts.orphans.allow(name)
      await listAll(name)
      await parts.orphans.settled(name)
      return before - parts.orphans.count(name)
    },
    configure,
    upgrades: upgradesOf(context, { passes: parts.passes, calls: parts.launcher.calls, kept, observe }),
    stop: async () => {
      stop.abort()
      unsubscribe()
      unsubscribeKept()
      parts.deadlines.stop()
      await parts.launcher.calls.drain(options.drainMs ?? DRAIN_MS)
      await context.conditions.settled()
      context.journal.close()
    },
  }
}

interface Parts {
  agents: Agents
  memory: ReturnType<typeof engineMemory>
  preparation: Preparation
  deadlines: ReturnType<typeof deadlinesOf>
  watchdog: ReturnType<typeof watchdogOf>
  watchers: ReturnType<typeof watchersOf>
  launcher: Launcher
  passes: ReturnType<typeof passesOf>
  orphans: Awaited<ReturnType<typeof openOrphans>>
  usage: UsageRoom
  observer(name: string): Observer | undefined
  /** Lists its workers soon. */
  relist(name: string): void
  /** Told of a provider when all that a list of it has shown is applied. */
  listed: Set<(name: string) => void>
  /** The provider is gone. */
  forget(name: string): void
}

/** The parts listen to the memory in this order: whoever waits for a lease is told last, when all is in place. */
async function assemble(context: Context): Promise<Parts> {
  const { clock, plugins } = context
  const memory = engineMemory(context)
  const traces = tracesOf(context)
  const deadlines = deadlinesOf(clock)
  const calls = (): Launcher['calls'] => launcher.calls
  const pool = poolRoom(context, memory)
  const watchdog = watchdogOf(context, { memory, deadlines, calls })
  const follower: Follower = followerOf(context, { memory, pool, deadlines, calls })
  const preparation = await openPreparation(context)
  const observers = new Map<string, Observer>()
  const listed: Parts['listed'] = new Set()
  const observer = (name: string): Observer | undefined => {
    const known = observers.get(name)
    const provider = plugins.find(name)
    if (known !== undefined || provider === undefined) return known
    const made = observerOf(context, provider, { memory, pool, follower, calls: launcher.calls, orphans, listed })
    observers.set(name, made)
    return made
  }
  const relist = (name: string): void => background(context, 'a list failed', () => observer(name)?.list() ?? Promise.resolve())
  const launcher: Launcher = launcherOf(context, {
    memory,
    pool,
    follower,
    preparation,
    relist,
    traces,
    startDue: watchdog.startDue,
  })
  const passes = passesOf(context, { memory, launcher })
  const agents = agentRoom(context, { deadlines })
  const watchers = watchersOf(context)
  const orphans = await openOrphans(context, { deadlines, relist })
  const usage = usageRoom(context)
  followHolders(context)
  return {
    agents,
    memory,
    preparation,
    deadlines,
    watchdog,
    watchers,
    launcher,
    passes,
    orphans,
    usage,
    observer,
    relist,
    listed,
    forget: (name) => {
      observers.get(name)?.stop()
      observers.delete(name)
      usage.forget(name)
    },
  }
}
