/** How workers end, as steps of one write: let go by a lease, terminated, closed. Each writes its own journal row. */
import type { JournalRule } from './journal-rules.ts'
import { activePhase, minutes } from './words.ts'
import type { LeaseRecord, LiveWorker } from './model.ts'
import { changeWorker, endLease, journal, leaseOf, type WorkerChange, type Writing } from './records.ts'
import type { Inputs } from './plan.ts'

export interface EndHow {
  /** Stable name of the rule that decided. */
  rule: JournalRule
  reason: string
  inputs?: Inputs
  change?: string
  /** Kill at once. */
  force?: boolean
  /** Further columns, as an exit that was seen with it. */
  also?: WorkerChange
}

/** A run that never confirms its log must not hold a machine for ever: long enough to read a large log twice. */
const LOG_HOLD_MS = minutes(10)
/** An idle worker this near to its lifetime is not worth keeping: what takes it would be cut off. */
export const ROTATE_AT = 0.9

/** The intent to terminate. From here on nobody can be given the worker. A worker that ends already only gets more urgent. */
export async function beginEnd(w: Writing, worker: LiveWorker, how: EndHow): Promise<LiveWorker> {
  const force = how.force === true ? 1 : 0
  if (worker.phase === 'terminating') {
    if (force <= worker.terminate_force) return worker
    return changeWorker(w, worker, { ...how.also, terminate_force: 1 })
  }
  await journal(w, {
    rule: how.rule,
    decision: `terminate: ${how.reason}`,
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    leaseId: worker.lease_id,
    inputs: { phase: worker.phase, ...how.inputs },
    change: how.change ?? '',
  })
  return changeWorker(w, worker, {
    ...how.also,
    phase: 'terminating',
    terminate_reason: how.reason,
    terminate_force: force,
    lease_id: null,
    idle_since: null,
    log_hold: 0,
    attempt: 0,
    next_attempt_at: null,
  })
}

export interface LetGoHow extends EndHow {
  /** Never used again, though the pool would. */
  discard?: boolean
  /** Its run failed, and somebody wants to look at what is left. */
  keep?: { ms: number; runId: string; outcome: string }
}

/** A worker whose lease has ended: to the next lease, or kept until its run has the log, or terminated. */
export async function letGo(w: Writing, worker: LiveWorker, how: LetGoHow): Promise<LiveWorker> {
  if (worker.phase === 'terminating') return beginEnd(w, worker, how)
  const force = how.force === true
  if (!force && how.keep !== undefined && fit(worker)) return keepFailed(w, worker, how.keep)
  if (!force && how.discard !== true && reusable(w, worker))
    return changeWorker(w, worker, { phase: 'idle', lease_id: null, uses: worker.uses + 1, idle_since: w.now })
  if (!force && worker.log_hold === 1 && worker.phase === 'leased') {
    await journal(w, {
      rule: 'drain-for-log',
      decision: 'keep until the log of its run is stored',
      pool: worker.pool,
      workerId: worker.id,
      leaseId: worker.lease_id,
      inputs: { reason: how.reason, until: w.now + LOG_HOLD_MS },
      change: 'The run confirms the end of its log.',
    })
    return changeWorker(w, worker, {
      phase: 'draining',
      lease_id: null,
      terminate_reason: how.reason,
      next_attempt_at: w.now + LOG_HOLD_MS,
    })
  }
  return beginEnd(w, worker, how)
}

function reusable(w: Writing, worker: LiveWorker): boolean {
  const { config } = w.context.state.pool(worker.pool)
  const rotateAt = worker.created_at + config.lifetimeMs * ROTATE_AT
  // A cordoned one too: it is handed out to nobody, and left alone. The session of an agent ends with its lease.
  return (
    worker.agent_at === null &&
    !w.context.unfit.has(worker.id) &&
    fit(worker) &&
    worker.uses + 1 < config.uses &&
    worker.log_hold === 0 &&
    worker.observed_ready === 'true' &&
    w.now < rotateAt
  )
}

/** It lives, and can be entered. */
function fit(worker: LiveWorker): boolean {
  return worker.phase === 'leased' && worker.exit === null && activePhase(worker.observed_phase)
}

/** Draining from here on: nobody is handed it, commands still go in, and a deadline or an operator ends it. */
async function keepFailed(w: Writing, worker: LiveWorker, keep: NonNullable<LetGoHow['keep']>): Promise<LiveWorker> {
  const until = Math.min(w.now + keep.ms, worker.expires_at ?? Infinity)
  await journal(w, {
    rule: 'keep-failed',
    decision: 'kept for a look: its run failed',
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    runId: keep.runId,
    leaseId: worker.lease_id,
    inputs: { outcome: keep.outcome, keepMs: keep.ms, until, expiresAt: worker.expires_at },
    change: 'An operator terminates it before.',
  })
  return changeWorker(w, worker, {
    phase: 'draining',
    lease_id: null,
    terminate_reason: `its run ${keep.runId} ended: ${keep.outcome}`,
    kept_until: until,
    kept_for: keep.runId,
    next_attempt_at: until,
    log_hold: 0,
  })
}

/** Ends a worker and, when somebody has it, their lease in the same step. */
export async function endBoth(
  w: Writing,
  worker: LiveWorker,
  how: EndHow & { end: LeaseRecord['end'] & string },
): Promise<LiveWorker> {
  const lease = leaseOf(w.context, worker)
  if (lease !== undefined) await endLease(w, lease, { end: how.end, reason: how.reason })
  return beginEnd(w, worker, how)
}

export interface CloseHow {
  end: 'gone' | 'lost' | 'refused' | 'never-made' | 'disowned'
  rule: JournalRule
  inputs?: Inputs
  change?: string
  leaseId?: string | undefined
  also?: WorkerChange
}

/** The last step: the provider has nothing of it any more, or nobody asks it any more. */
export async function close(w: Writing, worker: LiveWorker, how: CloseHow): Promise<LiveWorker> {
  const lost = how.end === 'gone' && worker.terminate_reason?.startsWith('lost') === true
  const end = lost ? 'lost' : how.end
  await journal(w, {
    rule: how.rule,
    decision: `closed: ${end}`,
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    leaseId: how.leaseId,
    inputs: { reason: worker.terminate_reason, ageMs: w.now - worker.created_at, ...how.inputs },
    ...(how.change === undefined ? {} : { change: how.change }),
  })
  return changeWorker(w, worker, {
    ...how.also,
    phase: worker.ready_at === null ? 'failed' : 'terminated',
    end,
    ended_at: w.now,
    spec_sealed: null,
    ticket_hash: null,
    session_hash: null,
    lease_id: null,
    next_attempt_at: null,
  })
}
