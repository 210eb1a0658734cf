/**
 * Follows workers that are changing, by inspect: starting ones until they are ready, ending ones until they are gone, absent ones until
 * they are found. Asks in batches, ever more rarely; a settled worker is never asked about.
 */
import type { WorkerObservation } from '@muster/core'
import { toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { askedPause, type BackoffCurve, ceiling, defectPauseMs, providerBackoff } from './backoff.ts'
import type { CallQueues } from './calls.ts'
import { background, type Context } from './context.ts'
import type { Deadlines } from './deadlines.ts'
import { type Memory, throttle } from './memory.ts'
import { laneOf, strandedBy } from './kept.ts'
import type { LiveWorker } from './model.ts'
import type { PoolRoom } from './pool.ts'
import { targetOf } from './words.ts'

export interface Follower {
  /** Terminate was accepted: looks until the worker is gone, at `by` at the latest when the provider named a time. */
  confirm(id: string, by?: number): void
  /** A list did not show it: asks once, and says what came of it. */
  verify(provider: GuardedProvider, ids: readonly string[]): Promise<Verified[]>
}

export interface Verified {
  id: string
  /** When the question was asked. */
  askedAt: number
  seen: WorkerObservation | undefined
}

export interface FollowerParts {
  memory: Memory
  pool: PoolRoom
  deadlines: Deadlines
  calls(): CallQueues
}

/** Most workers of one inspect: the contract's bound. */
const BATCH = 100
/** With a watch, the news comes by itself; asking repairs a lost one. Without, asking is the only way. */
const startingWithWatch: BackoffCurve = { baseMs: 100, capMs: 10_000 }
const startingWithout: BackoffCurve = { baseMs: 50, capMs: 3000 }
const ending: BackoffCurve = { baseMs: 200, capMs: 10_000 }
/** Terminate is asked again after this many looks that still show the worker. */
const LOOKS_PER_TERMINATE = 5

export function followerOf(context: Context, parts: FollowerParts): Follower {
  const { state, clock } = context
  const { pool, memory, deadlines } = parts
  const looks = new Map<string, number>()
  /** By lane: a kept version that is ill holds up no worker of the one that runs. */
  const due = new Map<string, Set<string>>()
  const busy = new Set<string>()
  const failures = new Map<string, number>()

  state.onWorker((now, before) => {
    if (now.phase === before?.phase) return
    looks.delete(now.id)
    deadlines.clear(`look:${now.id}`)
    due.get(laneOf(context, now))?.delete(now.id)
    if (now.phase === 'starting') lookAgain(now)
  })

  function lookAgain(worker: LiveWorker): void {
    const times = (looks.get(worker.id) ?? 0) + 1
    looks.set(worker.id, times)
    const watched = context.plugins.find(worker.provider)?.capabilities.watch === true
    const curve = worker.phase === 'terminating' ? ending : watched ? startingWithWatch : startingWithout
    // The first look of an unwatched start comes at once.
    const delay = times === 1 && curve === startingWithout ? 0 : ceiling(curve, times)
    ask(worker, clock.now() + delay)
  }

  function ask(worker: LiveWorker, at: number): void {
    deadlines.set(`look:${worker.id}`, at, () => {
      const lane = laneOf(context, state.workers.get(worker.id) ?? worker)
      const ids = due.get(lane) ?? new Set()
      due.set(lane, ids.add(worker.id))
      flush(lane)
    })
  }

  function flush(lane: string): void {
    const provider = context.plugins.find(lane.replace(/@.*$/, ''))
    const ids = due.get(lane)
    if (provider === undefined || ids === undefined || ids.size === 0 || busy.has(lane) || context.stopping.aborted) return
    busy.add(lane)
    background(context, 'an inspection could not be handled', async () => {
      // What falls due in the same turn goes into one question.
      await new Promise((resolve) => setImmediate(resolve))
      const batch = [...ids].slice(0, BATCH)
      for (const id of batch) ids.delete(id)
      let wait = defectPauseMs
      try {
        wait = await inspect(provider, { lane, ids: batch })
      } catch (error) {
        again(lane, { ids: batch, waitMs: wait })
        throw error
      } finally {
        clock.after(wait, () => {
          busy.delete(lane)
          flush(lane)
        })
      }
    })
  }

  /** Asks for a batch and acts on it. Returns how long to wait before the next question. */
  async function inspect(provider: GuardedProvider, { lane, ids }: { lane: string; ids: readonly string[] }): Promise<number> {
    const held = memory.heldUntil(provider.name, 'read') - clock.now()
    if (held > 0) return again(lane, { ids, waitMs: held })
    let answers: Verified[]
    try {
      answers = await verify(provider, ids)
    } catch (thrown) {
      const error = toProviderError(thrown)
      const now = clock.now()
      if (error.code === 'throttled') throttle(memory, provider.name, { error, scope: 'read', now })
      const times = (failures.get(lane) ?? 0) + 1
      failures.set(lane, times)
      return again(lane, { ids, waitMs: askedPause(error, ceiling(providerBackoff, times)) })
    }
    failures.delete(lane)
    await Promise.all(answers.map((answer) => act(provider, answer)))
    return 0
  }

  /** A worker that changed its lane meanwhile is asked for in the new one. */
  function again(lane: string, how: { ids: readonly string[]; waitMs: number }): number {
    for (const id of how.ids) {
      const worker = state.workers.get(id)
      if (worker === undefined) continue
      const mine = laneOf(context, worker)
      due.set(mine, (due.get(mine) ?? new Set()).add(id))
      if (mine !== lane) flush(mine)
    }
    return how.waitMs
  }

  async function verify(provider: GuardedProvider, ids: readonly string[]): Promise<Verified[]> {
    const verified: Verified[] = []
    for (let from = 0; from < ids.length; from += BATCH) {
      const workers = ids.slice(from, from + BATCH).flatMap((id) => state.workers.get(id) ?? [])
      if (workers.length === 0) continue
      const askedAt = clock.now()
      const answer = new Map((await provider.inspect(workers.map(targetOf))).map((one) => [one.id, one]))
      for (const { id } of workers) verified.push({ id, askedAt, seen: answer.get(id) })
    }
    return verified
  }

  async function act(provider: GuardedProvider, answer: Verified): Promise<void> {
    const { id, seen } = answer
    const worker = state.workers.get(id)
    if (worker === undefined) return
    if (seen !== undefined) {
      pool.observe(provider.name, seen)
      stillThere(worker)
      return
    }
    if (worker.phase !== 'starting' && worker.phase !== 'terminating') return
    if (!absentForSure(worker, { provider, askedAt: answer.askedAt })) {
      lookAgain(worker)
      return
    }
    if (worker.phase === 'terminating') await pool.gone(id, { end: 'gone', by: 'inspect' })
    else await pool.lost(id, { by: 'inspect', askedAt: answer.askedAt })
  }

  function stillThere(worker: LiveWorker): void {
    if (worker.phase !== 'starting' && worker.phase !== 'terminating') return
    const times = looks.get(worker.id) ?? 0
    const calls = parts.calls()
    if (worker.phase === 'terminating' && times >= LOOKS_PER_TERMINATE && !calls.isOpen(worker.id)) {
      looks.delete(worker.id)
      calls.put(worker.provider, { kind: 'terminate', id: worker.id })
      return
    }
    lookAgain(worker)
  }

  /** An inspect that does not show it counts only once all that was set off for it must show. */
  function absentForSure(worker: LiveWorker, how: { provider: GuardedProvider; askedAt: number }): boolean {
    // Nor does it where another version would have to be asked.
    if (strandedBy(context, worker) !== undefined) return false
    return !parts.calls().isOpen(worker.id) && how.askedAt >= showsBy(worker, how.provider)
  }

  /** From when on an inspect shows whatever there is of a worker: calls have settled, and the declared lag has passed. */
  function showsBy(worker: LiveWorker, provider: GuardedProvider): number {
    const calls = parts.calls()
    // One that is to end, and was seen since its launch, is unseen no more.
    const seen = worker.phase === 'terminating' && worker.observed_at !== null
    const made =
      worker.launched_at === null || seen
        ? 0
        : worker.launched_at + (context.plugins.find(provider.name, worker.id) ?? provider).capabilities.visibility.launchMs
    return Math.max(made, calls.settledAt(worker.id) ?? 0, calls.lateUntil(worker.id))
  }

  return {
    verify,
    confirm: (id, by) => {
      const worker = state.workers.get(id)
      const provider = worker === undefined ? undefined : context.plugins.find(worker.provider)
      if (worker?.phase !== 'terminating' || provider === undefined) return
      const times = (looks.get(id) ?? 0) + 1
      looks.set(id, times)
      const soon = Math.min(clock.now() + ceiling(ending, times), by ?? Infinity)
      ask(worker, Math.max(showsBy(worker, provider), soon))
    },
  }
}
