/** Deadlines of workers and leases: start, lifetime, ttl, longest wait. One entry each in the heap, moved with every change. */
import { isFinal } from '@muster/core'
import type { CallQueues } from './calls.ts'
import { type Context, mutate } from './context.ts'
import type { Deadlines } from './deadlines.ts'
import { beginEnd, endBoth, ROTATE_AT } from './ending.ts'
import { giveUp } from './failures.ts'
import type { Memory } from './memory.ts'
import type { LeaseRecord, LiveWorker } from './model.ts'
import { endLease, journal, leaseOf, writing, type Writing } from './records.ts'
import { isKept } from './state.ts'

export interface WatchdogParts {
  memory: Memory
  deadlines: Deadlines
  calls(): CallQueues
}

/** What falls due while the store is ill is looked at again this much later. */
const AGAIN_MS = 1000
/** Leases of before a restart stay this long at least: their clients could not renew meanwhile. */
const RENEW_AFTER_START_MS = 60_000

export interface Watchdog {
  startDue(worker: LiveWorker): number
  /** When a lease ends unless it is renewed; null: when its worker does. */
  expiry(lease: LeaseRecord): number | null
}

export function watchdogOf(context: Context, parts: WatchdogParts): Watchdog {
  const { state, clock } = context
  const { deadlines } = parts

  const startDue = (worker: LiveWorker): number =>
    Math.max(worker.created_at, context.startedAt) + state.pool(worker.pool).config.startDeadlineMs

  function expiry(lease: LeaseRecord): number | null {
    if (lease.expires_at === null) return null
    const old = (lease.active_at ?? lease.requested_at) < context.startedAt
    return old ? Math.max(lease.expires_at, context.startedAt + Math.min(lease.ttl_ms, RENEW_AFTER_START_MS)) : lease.expires_at
  }

  /** When something has to be done about a worker that nothing else will do; undefined: never. */
  function due(worker: LiveWorker): number | undefined {
    switch (worker.phase) {
      case 'launching':
      case 'starting':
        return startDue(worker)
      case 'idle':
        // One that an operator wants left alone has the whole of its lifetime.
        if (worker.cordoned === 1) return worker.expires_at ?? undefined
        return worker.created_at + ((worker.expires_at ?? Infinity) - worker.created_at) * ROTATE_AT
      case 'leased': {
        const lease = leaseOf(context, worker)
        return (lease === undefined ? null : expiry(lease)) ?? worker.expires_at ?? undefined
      }
      case 'draining':
        return Math.min(worker.next_attempt_at ?? Infinity, worker.expires_at ?? Infinity)
      default:
        return undefined
    }
  }

  function watch(worker: LiveWorker): void {
    const at = isFinal(worker.phase) ? undefined : due(worker)
    if (at === undefined || at === Infinity) deadlines.clear(`worker:${worker.id}`)
    else deadlines.set(`worker:${worker.id}`, at, () => act(`worker:${worker.id}`, () => overdue(worker.id)))
  }

  function act(key: string, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      if (context.stopping.aborted) return
      context.report('a deadline could not be acted on yet', error)
      deadlines.set(key, clock.now() + AGAIN_MS, () => act(key, work))
    })
  }

  async function overdue(id: string): Promise<void> {
    const worker = state.workers.get(id)
    if (worker === undefined) return
    if (worker.phase === 'launching' || worker.phase === 'starting') {
      const doubt = worker.phase === 'starting' || parts.calls().inDoubt(id)
      const message = `not ready within ${state.pool(worker.pool).config.startDeadlineMs} ms`
      const failure = { code: 'deadline' as const, message, rule: 'start-deadline' as const, doubt, next: 'placement' as const }
      await giveUp(context, parts.memory, { id, failure })
      return
    }
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const current = state.workers.get(id)
      const at = current === undefined ? undefined : due(current)
      if (current !== undefined && at !== undefined && at <= w.now) await endOverdue(w, current)
    })
  }

  async function endOverdue(w: Writing, worker: LiveWorker): Promise<void> {
    const lease = leaseOf(context, worker)
    if (worker.phase === 'idle')
      await beginEnd(w, worker, {
        rule: 'worker-rotation',
        reason: 'near its lifetime',
        inputs: { createdAt: worker.created_at, expiresAt: worker.expires_at },
        change: 'A longer lifetime of the pool.',
      })
    else if (isKept(worker))
      await beginEnd(w, worker, {
        rule: 'keep-over',
        reason: worker.terminate_reason ?? 'its run failed',
        inputs: { keptFor: worker.kept_for, until: worker.kept_until },
        change: 'A longer keepFailed, at most for its lifetime.',
      })
    else if (worker.phase === 'draining')
      await beginEnd(w, worker, {
        rule: 'log-hold-over',
        reason: worker.terminate_reason ?? 'its run did not take its log in time',
        inputs: { until: worker.next_attempt_at, expiresAt: worker.expires_at },
        change: 'A longer lifetime of the pool, or a client that reads faster.',
      })
    else if (lease !== undefined && expiry(lease) !== null)
      await endBoth(w, worker, {
        rule: 'lease-expired',
        end: 'expired',
        reason: 'the lease was not renewed in time',
        inputs: { ttlMs: lease.ttl_ms, expiresAt: lease.expires_at },
        change: 'A renewal before that time.',
      })
    else
      await endBoth(w, worker, {
        rule: 'worker-lifetime',
        end: 'expired',
        reason: 'the worker reached its lifetime',
        inputs: { createdAt: worker.created_at, expiresAt: worker.expires_at },
        change: 'A longer lifetime of the pool.',
      })
  }

  async function waitedTooLong(id: string): Promise<void> {
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const lease = state.leases.get(id)
      if (lease?.state !== 'queued') return
      const waitedMs = w.now - lease.requested_at
      await journal(w, {
        rule: 'queue-timeout',
        decision: 'the lease fails',
        pool: lease.pool,
        leaseId: id,
        inputs: { waitedMs, tries: lease.tries },
        change: 'A worker in time, or a longer queue time-out.',
      })
      await endLease(w, lease, { end: 'failed', reason: `no worker within ${waitedMs} ms` })
    })
  }

  state.onWorker(watch)
  state.onLease((lease) => {
    const key = `lease:${lease.id}`
    if (lease.state === 'queued' && lease.queue_deadline !== null)
      deadlines.set(key, lease.queue_deadline, () => act(key, () => waitedTooLong(lease.id)))
    else deadlines.clear(key)
    // A renewal moves the worker's deadline too.
    const worker = lease.worker_id === null ? undefined : state.workers.get(lease.worker_id)
    if (worker !== undefined) watch(worker)
  })
  return { startDue, expiry }
}
