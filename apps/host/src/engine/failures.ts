/** A launch that is given up: what is remembered of it, what becomes of the worker, and where its lease goes next. */
import { type ProviderErrorCode, reactions } from '@muster/core'
import { askedPause } from './backoff.ts'
import { persist, type Context } from './context.ts'
import { beginEnd, close } from './ending.ts'
import type { JournalRule } from './journal-rules.ts'
import type { Memory } from './memory.ts'
import type { LeaseRecord, LiveWorker } from './model.ts'
import { choose } from './placement.ts'
import { changeLease, changeWorker, endLease, journal, leaseOf, type WorkerChange, writing, type Writing } from './records.ts'
import type { Demand } from './spec.ts'
import { brief, inShort } from './words.ts'

export interface LaunchFailure {
  code: ProviderErrorCode
  message: string
  /** Something of it may exist, so it is terminated and confirmed gone first. */
  doubt: boolean
  next: 'placement' | 'fail'
  path?: string
  quota?: string
  hint?: string
  /** The provider says when another try makes sense. */
  retryAfterMs?: number
  /** What was seen with it. */
  also?: WorkerChange
  /** Stable name of the rule, where it is not the error table. */
  rule?: JournalRule
}

/** Failures of one lease, wherever: a bound on what one request can cost. Missing capacity does not count, it only waits. */
const LEASE_FAULTS = 8

/** Gives a launch up. Nothing happens when the worker is no longer on its way. */
export async function giveUp(context: Context, memory: Memory, given: { id: string; failure: LaunchFailure }): Promise<void> {
  const { id, failure } = given
  const first = context.state.workers.get(id)
  if (first === undefined || !onItsWay(first)) return
  const faults = remember(context, memory, { worker: first, failure })
  await persist(context, async (tx, after) => {
    const w = writing(context, tx, after)
    const worker = context.state.workers.get(id)
    if (worker === undefined || !onItsWay(worker)) return
    const lease = leaseOf(context, worker)
    const fails = failure.next === 'fail' || faults >= LEASE_FAULTS
    if (lease !== undefined) await sendOn(w, lease, { failure, fails })
    await explain(w, worker, { failure, fails: fails && lease !== undefined, faults })
    const problem = JSON.stringify({ code: failure.code, message: brief(failure.message), final: true })
    if (failure.doubt) {
      await endInDoubt(w, worker, { failure, problem })
      return
    }
    const marked = await changeWorker(w, worker, { ...failure.also, problem, terminate_reason: `launch failed: ${failure.code}` })
    await close(w, marked, { end: 'refused', rule: 'worker-refused' })
  })
}

function onItsWay(worker: LiveWorker): boolean {
  return worker.phase === 'launching' || worker.phase === 'starting'
}

async function endInDoubt(w: Writing, worker: LiveWorker, given: { failure: LaunchFailure; problem: string }): Promise<void> {
  await beginEnd(w, worker, {
    rule: 'launch-undo',
    reason: `launch failed: ${given.failure.code}`,
    inputs: { code: given.failure.code },
    change: 'It counts against the limits until it is confirmed gone.',
    also: { ...given.failure.also, problem: given.problem },
  })
}

async function sendOn(w: Writing, lease: LeaseRecord, how: { failure: LaunchFailure; fails: boolean }): Promise<void> {
  if (how.fails) await endLease(w, lease, { end: 'failed', reason: reasonOf(how.failure) })
  else await changeLease(w, lease, { state: 'queued', worker_id: null, assigned_at: null, tries: lease.tries + 1 })
}

function reasonOf(failure: LaunchFailure): string {
  return `${failure.code}${failure.path === undefined ? '' : ` at ${failure.path}`}: ${brief(failure.message)}`
}

async function explain(
  w: Writing,
  worker: LiveWorker,
  how: { failure: LaunchFailure; fails: boolean; faults: number },
): Promise<void> {
  const { code, path, quota, doubt } = how.failure
  const next = how.fails
    ? 'the request fails'
    : worker.lease_id === null
      ? 'the pool tries again later'
      : 'the lease goes to the next placement'
  await journal(w, {
    rule: how.failure.rule ?? `launch-${code}`,
    decision: `launch given up, ${next}`,
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    leaseId: worker.lease_id,
    inputs: {
      code,
      message: brief(how.failure.message),
      attempt: worker.attempt,
      phase: worker.phase,
      doubt,
      faults: how.faults,
      ...(path === undefined ? {} : { path }),
      ...(quota === undefined ? {} : { quota }),
    },
    change: reactions[code].text,
  })
}

/** One for each provider: a pool may be at the quota of one and go on with the next. */
export function quotaCondition(provider: string): `quota:${string}` {
  return `quota:${provider}`
}

/** Updates what is remembered and the conditions. Returns the lease's count of failures. */
function remember(context: Context, memory: Memory, given: { worker: LiveWorker; failure: LaunchFailure }): number {
  const { worker, failure } = given
  const lease = leaseOf(context, worker)
  const pool = context.state.pool(worker.pool).config
  const demand = lease === undefined ? memory.stock(pool) : memory.demand(lease)
  if (failure.code === 'capacity' || failure.code === 'quota') {
    if (demand !== undefined) memory.noCapacity(worker.provider, demand.size, inShort(failure.message))
    if (failure.code === 'quota')
      context.conditions.raise({
        scope: 'pool',
        name: worker.pool,
        type: quotaCondition(worker.provider),
        message: `provider ${worker.provider} is at its quota${failure.quota === undefined ? '' : ` ${failure.quota}`}: ${brief(failure.message)}`,
        hint: 'Raise the quota at the vendor, or lower scale.max of the pool.',
      })
    return 0
  }
  if (failure.code === 'unsupported' && demand !== undefined && refuse(context, memory, { worker, failure, demand })) return 0
  if (failure.code === 'auth') {
    memory.refused(worker.provider)
    context.conditions.raise({
      scope: 'provider',
      name: worker.provider,
      type: 'auth',
      message: `its rights are refused: ${brief(failure.message)}`,
      hint: 'Mend the secret or the rights; launches are tried again, ever more rarely.',
    })
  }
  if (lease !== undefined) return memory.avoid(lease.id, worker.provider, inShort(failure.message))
  // A refusal is remembered of the provider alone: the next one may be asked at once.
  if (failure.code !== 'unsupported') memory.stockFailed(worker.pool)
  const choice = demand === undefined ? undefined : choose(demand, memory.candidates(pool, demand), context.clock.now())
  if (failure.next === 'fail' || (choice?.provider === undefined && choice?.never === true))
    context.conditions.raise({
      scope: 'pool',
      name: worker.pool,
      type: 'stock',
      message: `workers for its stock cannot be made: ${reasonOf(failure)}`,
      hint: "Mend the pool's worker section.",
    })
  return 0
}

/**
 * Remembers that a provider does not make such a worker. True when only its state is in the way, as an image that is not there now: it says
 * when to try again, and whoever asked waits. What the request itself wished for is no such case: whoever asked can mend it, and waits
 * for nobody.
 */
function refuse(
  context: Context,
  memory: Memory,
  given: { worker: LiveWorker; failure: LaunchFailure; demand: Demand },
): boolean {
  const { worker, failure, demand } = given
  const { path, retryAfterMs } = failure
  const lease = leaseOf(context, worker)
  const what = `${path === undefined ? '' : `${path}: `}${brief(failure.message)}`
  const refusal = { what, path, forNow: retryAfterMs !== undefined, leastMs: askedPause({ retryAfterMs }, 0) }
  // Of the shape, which others may have of their pool: whether it is waited for is of each lease.
  memory.unsupported(worker.provider, demand.shape, refusal)
  const waits = refusal.forNow && !(lease !== undefined && memory.wishes(lease, path))
  if (waits)
    memory.refusals.raise({
      pool: worker.pool,
      provider: worker.provider,
      shape: demand.shape,
      message: `provider ${worker.provider} makes no workers for it now: ${what}`,
      hint: failure.hint ?? 'Mend at the vendor what the message names; tries go on.',
    })
  return waits
}
