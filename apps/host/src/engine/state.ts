/**
 * The engine's memory: live workers and leases, indexed so that no event needs a walk over all of them. It mirrors the store: it is
 * filled at start and changed only right after a commit, by `pool.ts` and `lease.ts`. Everybody else reads, or listens.
 */
import { isDeepStrictEqual } from 'node:util'
import { isFinal, type RecordPhase } from '@muster/core'
import type { LeaseRecord, LiveWorker, PoolConfig } from './model.ts'
import { countOwners, type Owned } from './owners.ts'
import { runOfLease } from './words.ts'

export interface PoolState {
  /** Replaced as a whole by another configuration. */
  config: PoolConfig
  /** By phase; absent is 0. */
  readonly counts: Map<RecordPhase, number>
  /** All live workers, those that are ending too: what counts against `max`. */
  total: number
  /** Not yet ready and not meant for a lease, by shape. */
  readonly coming: Map<string, number>
  /** Ids of idle workers by shape, longest idle first. */
  readonly idle: Map<string, string[]>
  /** Ids of queued leases, oldest first. */
  readonly queue: string[]
  /** Leases that are assigned or active. */
  leases: number
  /** Kept after a failed run: among the draining ones. */
  kept: number
  /** Cordoned, and held by nobody. */
  cordoned: number
}

/** A pool that the configuration no longer names is shown until it is empty. */
export function isThere({ config, total, leases, queue }: PoolState): boolean {
  return config.placement.length > 0 || total > 0 || leases > 0 || queue.length > 0
}

export type WorkerListener = (now: LiveWorker, before: LiveWorker | undefined) => void
export type LeaseListener = (now: LeaseRecord, before: LeaseRecord | undefined) => void

export interface EngineState {
  readonly workers: ReadonlyMap<string, LiveWorker>
  readonly leases: ReadonlyMap<string, LeaseRecord>
  readonly pools: ReadonlyMap<string, PoolState>
  /** Whose live workers are: one of each version of a plugin. */
  owners(): readonly Owned[]
  /** Ids of live workers by provider. */
  ofProvider(name: string): ReadonlySet<string>
  leaseOfRun(runId: string): string | undefined
  /** A pool that the configuration no longer names gets a state with no room, so that its last workers end in order. */
  pool(name: string): PoolState
  /** Takes the pools of another configuration. Returns the names of those that are not as they were. */
  configure(configs: readonly PoolConfig[]): Set<string>
  setWorker(now: LiveWorker): void
  setLease(now: LeaseRecord): void
  onWorker(listener: WorkerListener): void
  onLease(listener: LeaseListener): void
}

export function engineState(configs: readonly PoolConfig[]): EngineState {
  const workers = new Map<string, LiveWorker>()
  const leases = new Map<string, LeaseRecord>()
  const pools = new Map<string, PoolState>()
  const providers = new Map<string, Set<string>>()
  const runs = new Map<string, string>()
  const workerListeners: WorkerListener[] = []
  const leaseListeners: LeaseListener[] = []
  const none: ReadonlySet<string> = new Set()
  const owners = countOwners()

  function pool(name: string): PoolState {
    const known = pools.get(name)
    if (known !== undefined) return known
    const made = poolState(retired(name))
    pools.set(name, made)
    return made
  }

  function configure(next: readonly PoolConfig[]): Set<string> {
    const changed = new Set<string>()
    const given = new Map(next.map((config) => [config.name, config]))
    for (const [name, state] of pools) {
      // It keeps the times of its last workers, and has no room for more.
      const config = given.get(name) ?? { ...state.config, ...closed }
      given.delete(name)
      if (isDeepStrictEqual(state.config, config)) continue
      state.config = config
      changed.add(name)
    }
    for (const [name, config] of given) {
      pools.set(name, poolState(config))
      changed.add(name)
    }
    return changed
  }
  configure(configs)

  return {
    workers,
    leases,
    pools,
    pool,
    configure,
    owners: owners.list,
    ofProvider: (name) => providers.get(name) ?? none,
    leaseOfRun: (runId) => runs.get(runId),
    onWorker: (listener) => workerListeners.push(listener),
    onLease: (listener) => leaseListeners.push(listener),
    setWorker: (now) => {
      const before = workers.get(now.id)
      const state = pool(now.pool)
      if (before !== undefined) {
        leave(state, before)
        owners.add(before, -1)
      }
      const free = isFree(now)
      if (before !== undefined && isFree(before) && !free) removeIdle(state, before)
      const ids = providers.get(now.provider) ?? new Set()
      if (isFinal(now.phase)) {
        workers.delete(now.id)
        ids.delete(now.id)
      } else {
        workers.set(now.id, now)
        ids.add(now.id)
        enter(state, now)
        owners.add(now, 1)
        if (free && (before === undefined || !isFree(before))) addIdle(state, now)
      }
      providers.set(now.provider, ids)
      for (const listener of workerListeners) listener(now, before)
    },
    setLease: (now) => {
      const before = leases.get(now.id)
      const state = pool(now.pool)
      if (before?.state === 'queued') removeSorted(state.queue, now.id)
      else if (before !== undefined) state.leases -= 1
      if (now.state === 'ended') leases.delete(now.id)
      else leases.set(now.id, now)
      if (now.state === 'queued') insertSorted(state.queue, now.id)
      else if (now.state !== 'ended') state.leases += 1
      indexRun(runs, now, before)
      for (const listener of leaseListeners) listener(now, before)
    },
  }
}

function poolState(config: PoolConfig): PoolState {
  return { config, counts: new Map(), total: 0, coming: new Map(), idle: new Map(), queue: [], leases: 0, kept: 0, cordoned: 0 }
}

/** A pool that the configuration does not name. */
const closed = { placement: [], scale: { min: 0, max: 0, warm: 0, idleMs: 0 } } satisfies Partial<PoolConfig>

function retired(name: string): PoolConfig {
  return {
    name,
    ...closed,
    work: 'auto',
    worker: {},
    lifetimeMs: 0,
    graceMs: 0,
    startDeadlineMs: 0,
    uses: 1,
    queueTimeoutMs: 0,
    credentials: [],
  }
}

function enter(pool: PoolState, worker: LiveWorker): void {
  pool.total += 1
  add(pool.counts, worker.phase, 1)
  if (isComing(worker)) add(pool.coming, worker.shape, 1)
  if (isKept(worker)) pool.kept += 1
  if (isCordoned(worker)) pool.cordoned += 1
}

function leave(pool: PoolState, worker: LiveWorker): void {
  pool.total -= 1
  add(pool.counts, worker.phase, -1)
  if (isComing(worker)) add(pool.coming, worker.shape, -1)
  if (isKept(worker)) pool.kept -= 1
  if (isCordoned(worker)) pool.cordoned -= 1
}

function addIdle(pool: PoolState, worker: LiveWorker): void {
  const ids = pool.idle.get(worker.shape)
  if (ids === undefined) pool.idle.set(worker.shape, [worker.id])
  else ids.push(worker.id)
}

function removeIdle(pool: PoolState, worker: LiveWorker): void {
  const ids = pool.idle.get(worker.shape) ?? []
  // Handed out from the end, retired from the front: the ends are looked at first.
  if (ids.at(-1) === worker.id) ids.pop()
  else if (ids[0] === worker.id) ids.shift()
  else if (ids.includes(worker.id)) ids.splice(ids.indexOf(worker.id), 1)
  if (ids.length === 0) pool.idle.delete(worker.shape)
}

function isComing(worker: LiveWorker): boolean {
  return isUnready(worker) && worker.cordoned === 0
}

function isUnready(worker: LiveWorker): boolean {
  return worker.lease_id === null && (worker.phase === 'launching' || worker.phase === 'starting')
}

function isCordoned(worker: LiveWorker): boolean {
  return worker.cordoned === 1 && (worker.phase === 'idle' || isUnready(worker))
}

/** Held back from its end for a look: its run failed. */
export function isKept(worker: LiveWorker): boolean {
  return worker.phase === 'draining' && worker.kept_until !== null
}

/** Idle, and may be handed out. */
function isFree(worker: LiveWorker): boolean {
  return worker.phase === 'idle' && worker.cordoned === 0
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}

function indexRun(runs: Map<string, string>, now: LeaseRecord, before: LeaseRecord | undefined): void {
  if (now.of_run === 0 || (before !== undefined && now.state !== 'ended')) return
  const run = runOfLease(now)
  if (run === undefined) return
  if (now.state === 'ended') runs.delete(run)
  else runs.set(run, now.id)
}

/** Where `id` is, or would be, in a sorted list. New ids are the largest, so the search begins at the end. */
function position(ids: readonly string[], id: string): number {
  if (ids.length === 0 || id > (ids.at(-1) ?? '')) return ids.length
  let low = 0
  let high = ids.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ids[middle] ?? '') < id) low = middle + 1
    else high = middle
  }
  return low
}

function insertSorted(ids: string[], id: string): void {
  const at = position(ids, id)
  if (ids[at] !== id) ids.splice(at, 0, id)
}

function removeSorted(ids: string[], id: string): void {
  const at = position(ids, id)
  if (ids[at] !== id) return
  if (at === 0) ids.shift()
  else ids.splice(at, 1)
}
