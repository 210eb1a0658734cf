/** The engine's part of the metrics: its changes are counted as they are committed, its state is read at the scrape. */
import type { WorkerExit } from '@muster/core'
import type { Engine } from '../../engine/api.ts'
import type { JournalRow, LeaseRecord, LiveWorker, RunRecord } from '../../engine/model.ts'
import { toldTimes } from '../../engine/times.ts'
import type { WorkerUsage } from '../../engine/used.ts'
import type { ProviderState, ProviderStatus } from '../../plugins/api.ts'
import type { Metrics } from './metrics.ts'
import type { Labels, MetricName, SetGauge } from './definitions.ts'

const providerStates: readonly ProviderState[] = ['starting', 'ready', 'degraded', 'quarantined', 'failed', 'stopped']
const breakerStates: readonly ProviderStatus['breaker'][] = ['closed', 'open', 'half-open']
const orphanEvents = new Map([
  ['orphan-quarantined', 'quarantined'],
  ['orphan-removed', 'removed'],
  ['orphan-gone', 'gone'],
])

/** From here on all that the engine does is counted. What lives already counts as adopted. */
export function countEngine(metrics: Metrics, engine: Engine): void {
  const workers = countWorkers(metrics, engine)
  const startedAt = engine.clock.now()
  engine.usage.onSample((worker, now, before) => countUsage(metrics, { worker, now, before, startedAt }))
  engine.changes.onLease((now, before) => countLease(metrics, now, before))
  engine.changes.onDecision((row) => countDecision(metrics, row))
  metrics.onScrape((set) => {
    workers(set)
    readEngine(engine, set)
  })
  metrics.onScrape((set) => readOrphans(engine, set))
}

export function countRun(metrics: Metrics, run: RunRecord): void {
  metrics.count('muster_runs_ended_total', { pool: run.pool, outcome: run.outcome ?? 'unknown' })
  if (run.started_at !== null && run.ended_at !== null)
    metrics.record('muster_run_seconds', seconds(run, 'started_at', 'ended_at'), { pool: run.pool })
  const { memoryPeakBytes: peak } = JSON.parse(run.exit ?? '{}') as Partial<WorkerExit>
  if (peak !== undefined) metrics.record('muster_run_memory_peak_bytes', peak, { pool: run.pool })
}

interface Sampled {
  worker: LiveWorker
  now: WorkerUsage
  before: WorkerUsage | undefined
  startedAt: number
}

/** What a worker used before this host came was counted by the host before it, or by nobody. */
function countUsage(metrics: Metrics, { worker: { pool, created_at: made }, now, before, startedAt }: Sampled): void {
  if (before === undefined && made < startedAt) return
  // A worker that began anew counts from nothing again.
  const add = (name: MetricName, labels: Labels, [to = 0, from = 0]: [number | undefined, number | undefined]): void =>
    void (to > from && metrics.count(name, labels, to - from))
  add('muster_worker_cpu_seconds_total', { pool }, [now.cpuSeconds, before?.cpuSeconds])
  const network = 'muster_worker_network_bytes_total'
  add(network, { pool, direction: 'received' }, [now.network?.receivedBytes, before?.network?.receivedBytes])
  add(network, { pool, direction: 'sent' }, [now.network?.sentBytes, before?.network?.sentBytes])
  const disk = 'muster_worker_disk_bytes_total'
  add(disk, { pool, direction: 'read' }, [now.disk?.readBytes, before?.disk?.readBytes])
  add(disk, { pool, direction: 'written' }, [now.disk?.writtenBytes, before?.disk?.writtenBytes])
}

/** Numbers of workers are kept as they change, so that a scrape walks over label sets and not over workers. */
function countWorkers(metrics: Metrics, engine: Engine): (set: SetGauge) => void {
  const groups = new Map<string, { labels: Labels; count: number }>()
  const ending = new Map<string, number>()

  function move(worker: LiveWorker, by: number): void {
    const { pool, provider, phase } = worker
    const key = `${pool}/${provider}/${phase}`
    const group = groups.get(key) ?? { labels: { pool, provider, phase }, count: 0 }
    group.count += by
    if (group.count === 0) groups.delete(key)
    else groups.set(key, group)
  }

  for (const worker of engine.workers.live()) {
    move(worker, 1)
    metrics.count('muster_workers_adopted_total', { provider: worker.provider })
  }
  engine.changes.onWorker((now, before) => {
    if (before?.phase === now.phase) return
    const labels = { pool: now.pool, provider: now.provider }
    if (before !== undefined) move(before, -1)
    if (now.ended_at === null) move(now, 1)
    if (now.ready_at !== null && before?.ready_at === null)
      metrics.record('muster_worker_ready_seconds', seconds(now, 'created_at', 'ready_at'), labels)
    if (now.phase === 'terminating') ending.set(now.id, engine.clock.wall())
    if (now.ended_at === null) return
    metrics.count('muster_workers_ended_total', { ...labels, end: now.end ?? 'unknown' })
    const since = ending.get(now.id)
    const { ended_at: until } = toldTimes(now, ['ended_at'])
    // The host before this one began it: nobody knows when. A clock that was set back must not make a sum fall.
    if (since !== undefined && until !== null)
      metrics.record('muster_worker_terminate_seconds', Math.max(0, until - since) / 1000, labels)
    ending.delete(now.id)
  })
  return (set) => {
    for (const { labels, count } of groups.values()) set('muster_workers', count, labels)
  }
}

function countLease(metrics: Metrics, now: LeaseRecord, before: LeaseRecord | undefined): void {
  const labels = { pool: now.pool }
  // A lease that is moved to another placement waits on; what counts is its first worker.
  if (now.assigned_at !== null && before?.assigned_at === null)
    metrics.record('muster_lease_queue_seconds', seconds(now, 'requested_at', 'assigned_at'), labels)
  if (now.active_at !== null && before?.active_at === null)
    metrics.record('muster_lease_active_seconds', seconds(now, 'requested_at', 'active_at'), labels)
  if (now.state === 'ended' && before?.state !== 'ended')
    metrics.count('muster_leases_ended_total', { ...labels, end: now.end ?? 'unknown' })
}

function countDecision(metrics: Metrics, row: JournalRow): void {
  metrics.count('muster_decisions_total', { rule: row.rule })
  const event = orphanEvents.get(row.rule)
  if (event !== undefined && row.provider !== null) metrics.count('muster_orphans_total', { provider: row.provider, event })
}

function readEngine(engine: Engine, set: SetGauge): void {
  set('muster_acting', engine.acting() ? 1 : 0)
  for (const { config, queued, leases } of engine.pools.list()) {
    set('muster_leases', queued, { pool: config.name, state: 'queued' })
    set('muster_leases', leases, { pool: config.name, state: 'held' })
  }
  for (const one of engine.plugins.list()) readProvider(one.status(), set)
  for (const [pool, { memoryBytes }] of engine.usage.byPool()) set('muster_worker_memory_bytes', memoryBytes, { pool })
  const conditions = new Map<string, { labels: Labels; count: number }>()
  for (const { scope, type } of engine.conditions.list()) {
    const group = conditions.get(`${scope}/${type}`) ?? { labels: { scope, type }, count: 0 }
    group.count += 1
    conditions.set(`${scope}/${type}`, group)
  }
  for (const { labels, count } of conditions.values()) set('muster_conditions', count, labels)
  set('muster_journal_rows_total', engine.events.last())
  set('muster_store_ok', engine.store.health().state === 'ok' ? 1 : 0)
  const { waiting } = engine.store.facts()
  if (typeof waiting === 'number') set('muster_store_waiting_writes', waiting)
}

function readProvider(status: ProviderStatus, set: SetGauge): void {
  const provider = status.name
  for (const state of providerStates) set('muster_provider_state', status.state === state ? 1 : 0, { provider, state })
  for (const state of breakerStates) set('muster_provider_breaker', status.breaker === state ? 1 : 0, { provider, state })
  set('muster_provider_calls_in_flight', status.inFlight, { provider })
  set('muster_provider_restarts_total', status.restarts, { provider })
  set('muster_provider_turn_bytes', status.busiest.bytes, { provider })
  set('muster_provider_turn_frames', status.busiest.frames, { provider })
}

/** A small table: what is gone leaves it. */
async function readOrphans(engine: Engine, set: SetGauge): Promise<void> {
  const rows = await engine.store.read
    .selectFrom('orphans')
    .select(({ fn }) => ['provider', 'state', fn.countAll().as('count')])
    .groupBy(['provider', 'state'])
    .execute()
  for (const { provider, state, count } of rows) set('muster_orphans', Number(count), { provider, state })
}

/** Between two times of a record that are there, as it is read. */
function seconds<C extends string>(row: Parameters<typeof toldTimes<C>>[0], from: C, until: C): number {
  const told = toldTimes(row, [from, until])
  return ((told[until] ?? 0) - (told[from] ?? 0)) / 1000
}
