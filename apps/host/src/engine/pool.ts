/**
 * What happens to workers: answers of launches, observations, loss, closing. Each is one write that moves the worker, its lease and the
 * journal together. Observing decides nothing but what the facts say; policy is in `plan.ts`.
 */
import type { LaunchedWorker, WorkerExit, WorkerObservation } from '@muster/core'
import { background, type Context, persist } from './context.ts'
import { beginEnd, close, endBoth } from './ending.ts'
import { giveUp, type LaunchFailure } from './failures.ts'
import type { JournalRule } from './journal-rules.ts'
import type { Memory } from './memory.ts'
import { takenOver } from './kept.ts'
import type { LeaseRecord, LiveWorker } from './model.ts'
import { activateLease, changeWorker, endLease, journal, leaseOf, type WorkerChange, writing, type Writing } from './records.ts'
import { isKept } from './state.ts'
import { lossOf, tellTaken } from './taken.ts'
import { brief, exitText, modeOfSpec } from './words.ts'

export interface PoolRoom {
  /** The provider durably has the worker. */
  launched(id: string, answer: LaunchedWorker): Promise<void>
  /** What a provider says exists. Cheap when it says nothing new. */
  observe(provider: string, seen: WorkerObservation): void
  /** It is gone without our doing, by the absence rule or by the provider's word. */
  lost(id: string, evidence: Record<string, unknown>): Promise<void>
  /** It is gone: confirmed, or never made. */
  gone(id: string, how: { end: 'gone' | 'never-made'; by: string }): Promise<void>
}

export function poolRoom(context: Context, memory: Memory): PoolRoom {
  const { state } = context
  /** Seen before the launch's answer was stored: looked at right after. */
  const early = new Map<string, WorkerObservation>()
  state.onWorker((now, before) => {
    if (now.phase === 'launching' || before?.phase !== 'launching') return
    const seen = early.get(now.id)
    early.delete(now.id)
    if (seen !== undefined && now.phase === 'starting') observe(now.provider, seen)
  })

  async function launched(id: string, answer: LaunchedWorker): Promise<void> {
    await persist(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const worker = state.workers.get(id)
      if (worker === undefined || worker.launched_at !== null) return
      const change: WorkerChange = {
        handle: JSON.stringify(answer.handle),
        granted: answer.granted === undefined ? null : JSON.stringify(answer.granted),
        launched_at: w.now,
        // One in doubt was begun by the version before.
        ...takenOver(context, { ...worker, launched_at: w.now }),
      }
      // Given up meanwhile: the handle helps to terminate it.
      if (worker.phase !== 'launching') {
        await changeWorker(w, worker, change)
        return
      }
      await journal(w, {
        rule: 'worker-launched',
        decision: 'the provider has the worker',
        ...namesOf(worker),
        inputs: { attempt: worker.attempt + 1, afterMs: w.now - worker.created_at },
        change: 'It is not seen ready before its start deadline.',
      })
      await changeWorker(w, worker, { ...change, phase: 'starting', attempt: 0, next_attempt_at: null })
    })
  }

  function observe(provider: string, seen: WorkerObservation): void {
    const worker = state.workers.get(seen.id)
    if (worker === undefined || worker.provider !== provider) return
    if (worker.phase === 'launching') {
      early.set(seen.id, seen)
      return
    }
    if (newsOf(worker, seen, { now: 0, taken: takenOver(context, worker) }) === undefined) return
    if (seen.exit !== undefined && worker.exit === null) context.killpoint('exit-seen-not-stored')
    background(context, 'an observation could not be stored', () => take(seen))
  }

  async function take(seen: WorkerObservation): Promise<void> {
    let failure: LaunchFailure | undefined
    await persist(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const worker = state.workers.get(seen.id)
      const news =
        worker === undefined || worker.phase === 'launching'
          ? undefined
          : newsOf(worker, seen, { now: w.now, taken: takenOver(context, worker) })
      failure = undefined
      if (worker === undefined || news === undefined) return
      failure = await applyNews(w, worker, { seen, news })
    })
    if (failure !== undefined) await giveUp(context, memory, { id: seen.id, failure })
  }

  async function lost(id: string, evidence: Record<string, unknown>): Promise<void> {
    if (state.workers.get(id)?.phase === 'starting') {
      const message = 'it vanished before it was ready'
      await giveUp(context, memory, {
        id,
        failure: { code: 'transient', message, rule: 'lost-before-ready', doubt: true, next: 'placement' },
      })
      return
    }
    await persist(context, async (tx, after) => {
      const worker = state.workers.get(id)
      if (worker !== undefined) await loseWorker(writing(context, tx, after), worker, { evidence })
    })
  }

  async function gone(id: string, how: { end: 'gone' | 'never-made'; by: string }): Promise<void> {
    context.killpoint('gone-not-closed')
    await persist(context, async (tx, after) => {
      const worker = state.workers.get(id)
      if (worker?.phase !== 'terminating') return
      await close(writing(context, tx, after), worker, { end: how.end, rule: 'worker-gone', inputs: { by: how.by } })
    })
  }

  return { launched, observe, lost, gone }
}

/** What would change the end of a worker that nobody ended. */
const NOT_OURS = "The worker goes on: its end was not Muster's doing."

/** What an observation adds to a record; undefined when nothing. Exited and lost are final: later sights of earlier states are old. */
function newsOf(
  worker: LiveWorker,
  seen: WorkerObservation,
  { now, taken }: { now: number; taken: WorkerChange },
): WorkerChange | undefined {
  if (
    worker.observed_phase === 'lost' ||
    (worker.observed_phase === 'exited' && seen.phase !== 'lost' && seen.phase !== 'exited')
  )
    return Object.keys(taken).length === 0 ? undefined : taken
  const change: WorkerChange = { ...taken }
  const handle = JSON.stringify(seen.handle)
  const ready = String(seen.ready)
  const problem = seen.problem === undefined ? null : JSON.stringify({ ...seen.problem, message: brief(seen.problem.message) })
  if (handle !== worker.handle) change.handle = handle
  if (seen.phase !== worker.observed_phase) change.observed_phase = seen.phase
  if (ready !== worker.observed_ready) change.observed_ready = ready
  if (seen.part !== undefined && seen.part !== worker.part) change.part = seen.part
  if (problem !== null && problem !== worker.problem) change.problem = problem
  if (seen.exit !== undefined && worker.exit === null) {
    change.exit = JSON.stringify(seen.exit)
    change.exited_at = now
  }
  if (Object.keys(change).length === 0) return undefined
  change.observed_at = now
  return change
}

interface News {
  seen: WorkerObservation
  news: WorkerChange
}

/** Moves the record by what was seen. Returns a failure when a worker that was to get ready never will. */
async function applyNews(w: Writing, worker: LiveWorker, given: News): Promise<LaunchFailure | undefined> {
  const { seen, news } = given
  switch (worker.phase) {
    case 'starting':
      return starting(w, worker, given)
    case 'idle':
      await idle(w, worker, given)
      return undefined
    case 'leased':
      await leased(w, worker, given)
      return undefined
    case 'draining':
      if (seen.phase === 'lost') await loseWorker(w, worker, { evidence: { by: 'provider' }, also: news })
      else if (seen.phase === 'exited' && isKept(worker))
        await beginEnd(w, worker, {
          rule: 'keep-over',
          reason: `it ended without our doing: ${exitText(seen.exit)}`,
          inputs: { keptFor: worker.kept_for, until: worker.kept_until },
          change: NOT_OURS,
          also: news,
        })
      else await changeWorker(w, worker, news)
      return undefined
    default:
      await changeWorker(w, worker, news)
      return undefined
  }
}

async function starting(w: Writing, worker: LiveWorker, given: News): Promise<LaunchFailure | undefined> {
  const { seen, news } = given
  const failed = (code: LaunchFailure['code'], message: string, rule: JournalRule): LaunchFailure => ({
    code,
    message,
    rule,
    doubt: true,
    next: code === 'invalid-spec' ? 'fail' : 'placement',
    also: news,
  })
  if (seen.problem?.final === true) return failed(seen.problem.code, seen.problem.message, `late-${seen.problem.code}`)
  if (seen.phase === 'lost') return failed('transient', 'it was lost before it was ready', 'lost-before-ready')
  const lease = leaseOf(w.context, worker)
  const mode = modeOfSpec(worker.spec)
  if (seen.phase === 'exited' && !(mode === 'command' && lease !== undefined))
    return failed('internal', `it ended before it was ready: ${seen.exit?.reason ?? 'no reason given'}`, 'exit-before-ready')
  // A command may be over before anybody has seen it run: it was ready, and has an exit.
  const shown =
    seen.phase === 'exited' || seen.ready === true || (seen.ready === 'unknown' && seen.phase === 'running' && !probed(worker))
  // An agent says itself that it is there.
  const ready = mode === 'agent' ? worker.agent_at !== null : shown
  if (ready) await becomeReady(w, worker, { news, lease, exit: seen.exit })
  else await changeWorker(w, worker, news)
  return undefined
}

function probed(worker: LiveWorker): boolean {
  return (JSON.parse(worker.spec) as { readiness?: unknown }).readiness !== undefined
}

const READY_IDLE = {
  rule: 'worker-idle' as const,
  decision: 'ready, waits for a lease',
  change: 'A lease takes it, or it is idle for longer than its pool keeps it.',
}
const READY_LEASED = {
  rule: 'lease-active' as const,
  decision: 'ready, the lease has its worker',
  change: 'The lease is released or expires, or the worker ends.',
}

export interface Readiness {
  news: WorkerChange
  lease: LeaseRecord | undefined
  exit?: WorkerExit | undefined
}

/** To the lease it was made for, else to the stock. */
export async function becomeReady(w: Writing, worker: LiveWorker, { news, lease, exit }: Readiness): Promise<void> {
  const change: WorkerChange = { ...news, observed_ready: 'true', ready_at: w.now }
  const decided = lease === undefined ? READY_IDLE : READY_LEASED
  await journal(w, { ...decided, ...namesOf(worker), inputs: { afterMs: w.now - worker.created_at } })
  if (lease === undefined) {
    await changeWorker(w, worker, { ...change, phase: 'idle', idle_since: w.now })
    return
  }
  const next = await changeWorker(w, worker, { ...change, phase: 'leased', log_hold: lease.of_run })
  const active = await activateLease(w, lease, worker.id)
  w.after(() => w.context.killpoint('lease-active'))
  if (exit === undefined || active.of_run === 1) return
  const reason = `the worker ended without our doing: ${exitText(exit)}`
  await endLease(w, active, { end: 'failed', reason })
  await beginEnd(w, next, { rule: 'exit-ends-lease', reason, change: NOT_OURS })
}

async function idle(w: Writing, worker: LiveWorker, given: News): Promise<void> {
  const { seen, news } = given
  if (seen.phase === 'lost') {
    await loseWorker(w, worker, { evidence: { by: 'provider' }, also: news })
    return
  }
  const reason =
    seen.phase === 'exited' || seen.phase === 'stopping'
      ? `it ended without our doing: ${exitText(seen.exit)}`
      : // One that an operator wants to look at may well be ill.
        seen.ready === false && worker.cordoned === 0
        ? 'it is no longer ready'
        : undefined
  if (reason === undefined) await changeWorker(w, worker, news)
  else
    await beginEnd(w, worker, {
      rule: 'idle-unfit',
      reason,
      inputs: { seen: seen.phase, ready: seen.ready },
      change: NOT_OURS,
      also: news,
    })
}

async function leased(w: Writing, worker: LiveWorker, given: News): Promise<void> {
  const { seen, news } = given
  if (seen.phase === 'lost') {
    await loseWorker(w, worker, { evidence: { by: 'provider' }, also: news })
    return
  }
  const lease = leaseOf(w.context, worker)
  if (news.exit === undefined || news.exit === null) {
    await tellTaken(w, worker, seen)
    await changeWorker(w, worker, news)
    return
  }
  await journal(w, {
    rule: 'worker-exited',
    decision: lease?.of_run === 1 ? 'kept until its run has exit and log' : 'the lease ends with its worker',
    ...namesOf(worker),
    inputs: { exit: seen.exit },
    change: NOT_OURS,
  })
  const marked = await changeWorker(w, worker, news)
  if (lease?.of_run === 1) return
  await endBoth(w, marked, {
    rule: 'exit-ends-lease',
    end: 'failed',
    reason: `the worker ended without our doing: ${exitText(seen.exit)}`,
    change: NOT_OURS,
  })
}

async function loseWorker(
  w: Writing,
  worker: LiveWorker,
  given: { evidence: Record<string, unknown>; also?: WorkerChange },
): Promise<void> {
  const { phase } = worker
  if (phase === 'terminating') return
  // Terminated all the same: frees what may be left of it, as a network or a volume, and tells a lost part to stop should it come back.
  await endBoth(w, worker, {
    rule: 'worker-lost',
    end: 'lost',
    reason: lossOf(given.also?.problem ?? worker.problem),
    force: true,
    inputs: given.evidence,
    change: "Whoever removed it leaves it: the provider's own records may name them.",
    also: { ...given.also, observed_phase: 'lost' },
  })
}

function namesOf(worker: LiveWorker): { pool: string; provider: string; workerId: string; leaseId: string | null } {
  return {
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    leaseId: worker.lease_id,
  }
}
