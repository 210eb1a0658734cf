/** What becomes of leases, workers and runs, told with their ids: as lines of the log, and as spans once their times are known. */
import type { Logger } from 'pino'
import type { Engine } from '../engine/api.ts'
import type { JournalRow, RunRecord } from '../engine/model.ts'
import { toldTimes } from '../engine/times.ts'
import { traceIdOf, traceOfRequest, type Tracing } from './trace.ts'

export interface StoryParts {
  engine: Engine
  log: Logger
  tracing: Tracing
}

/** Nobody asked for what these do, and no run, lease or record tells of it. */
const orphanRules = new Set(['orphan-quarantined', 'orphan-removed', 'orphan-gone'])

/** Every decision is a line of level `debug`, those about workers that no record knows of `info`; the journal has them all, with their inputs. */
export function tellDecisions({ engine, log }: StoryParts): void {
  engine.changes.onDecision((row) => {
    const level = orphanRules.has(row.rule) ? 'info' : 'debug'
    if (!log.isLevelEnabled(level)) return
    const lease = row.lease_id ?? engine.workers.get(row.worker_id ?? '')?.lease_id ?? undefined
    const trace = traceIdOf(traceOfRequest(engine.leases.get(lease ?? '')?.request))
    log[level]({ rule: row.rule, seq: row.seq, ...idsOf(row), ...(trace === undefined ? {} : { trace }) }, row.decision)
  })
}

/** What lasts and wants an operator's eye; a store that takes no rows is told here all the same. */
export function tellConditions({ engine, log }: Omit<StoryParts, 'tracing'>): void {
  engine.conditions.onChange(({ scope, name, type, message, hint }, how) => {
    if (how === 'raised') log.warn({ condition: type, scope, name, hint }, message)
    else log.info({ condition: type, scope, name }, `no longer so: ${message}`)
  })
}

/** The end of a run is the one line that everybody looks for. */
export function tellRun({ log, tracing }: Omit<StoryParts, 'engine'>, run: RunRecord): void {
  const parent = traceOfRequest(run.request)
  const { id, kind, pool, outcome, worker_id: worker, lease_id: lease } = run
  const told = toldTimes(run, ['created_at', 'ended_at'])
  const made = told.created_at ?? run.created_at
  const ended = told.ended_at ?? made
  log.info(
    {
      run: id,
      kind,
      pool,
      outcome,
      ms: ended - made,
      ...(worker === null ? {} : { worker }),
      ...(lease === null ? {} : { lease }),
      ...(parent === undefined ? {} : { trace: traceIdOf(parent) }),
    },
    'run ended',
  )
  if (!tracing.on || parent === undefined) return
  const facts = { 'muster.run': id, 'muster.pool': pool, 'muster.outcome': outcome ?? 'unknown' }
  const span = tracing.start('run', { parent, at: made, facts })
  span.end({ at: ended, ...(outcome === 'passed' ? {} : { failed: outcome ?? 'unknown' }) })
}

const waiting = ['requested_at', 'assigned_at', 'active_at'] as const

/** Waiting has no call that a span could follow: told when it is over, from the instants of the records. */
export function tellWaiting({ engine, tracing }: StoryParts): void {
  if (!tracing.on) return
  engine.changes.onLease((now, before) => {
    const parent = traceOfRequest(now.request)
    if (parent === undefined) return
    const facts = { 'muster.lease': now.id, 'muster.pool': now.pool }
    const { requested_at: requested, assigned_at: assigned, active_at: active } = toldTimes(now, waiting)
    if (requested !== null && assigned !== null && before?.assigned_at === null)
      tracing.start('lease queued', { parent, at: requested, facts }).end({ at: assigned })
    if (active !== null && assigned !== null && before?.active_at === null)
      tracing.start('worker readied', { parent, at: assigned, facts }).end({ at: active })
  })
}

function idsOf(row: JournalRow): Record<string, string> {
  const ids = { pool: row.pool, provider: row.provider, worker: row.worker_id, lease: row.lease_id, run: row.run_id }
  return Object.fromEntries(Object.entries(ids).filter((entry): entry is [string, string] => entry[1] !== null))
}
