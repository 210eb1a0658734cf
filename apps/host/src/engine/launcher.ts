/** Makes the launch and terminate calls and handles their outcomes. The one place where calls are repeated. */
import { type LaunchedWorker, type LaunchSpec, type ProviderError, type Terminated, toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { askedPause, fullJitter, terminateBackoff } from './backoff.ts'
import { type CallQueues, callQueues } from './calls.ts'
import { type Context, persist } from './context.ts'
import { isMisplaced, placeLaunch } from './elsewhere.ts'
import { giveUp, quotaCondition } from './failures.ts'
import type { Follower } from './follow.ts'
import type { JournalRule } from './journal-rules.ts'
import { strandedBy } from './kept.ts'
import { type Memory, throttle } from './memory.ts'
import type { LiveWorker } from './model.ts'
import type { PoolRoom } from './pool.ts'
import type { Preparation } from './prepare.ts'
import { withTicket } from './proofs.ts'
import { reactToLaunch } from './react.ts'
import { changeWorker, journal, writing } from './records.ts'
import { spanOf, type Traces } from './traces.ts'
import { betterPlace, takeBackLaunch, takeBackUnsent } from './takeback.ts'
import { brief, minutes, targetOf } from './words.ts'

export interface Launcher {
  readonly calls: CallQueues
  /** The spec of a worker whose record is about to be written, so that its first launch need not read it back. */
  remember(id: string, spec: LaunchSpec): void
  /** After a pool was paused, or a provider disabled or seen away: launches that were not sent yet are not made. Those under way go on. */
  takeBack(): void
}

export interface LauncherParts {
  memory: Memory
  pool: PoolRoom
  follower: Follower
  preparation: Preparation
  traces: Traces
  /** Lists a provider's workers soon. */
  relist(provider: string): void
  /** When a worker must be ready. */
  startDue(worker: LiveWorker): number
}

/** Beyond the grace itself: what stopping, removing and answering may take. */
const TERMINATE_MS = 30_000
/** The shortest time a launch call gets, unless its worker's start deadline is nearer. */
const LAUNCH_MS = 30_000
/** After the grace and this, what still resists is killed and let go of. A lost node never answers otherwise. */
const FORCE_AFTER_MS = minutes(2)
/** Failed terminates of one worker after which an operator should look. */
const CONDITION_AT = 3
/** Until the host's term is renewed. */
const NOT_SENT_MS = 500

export function launcherOf(context: Context, parts: LauncherParts): Launcher {
  const { state, clock, killpoint } = context
  const { memory, pool, follower } = parts
  const specs = new Map<string, LaunchSpec>()
  const forceAt = new Map<string, number>()
  /** Made urgent by the launcher itself, in a call under way. */
  const escalated = new Set<string>()
  const calls = callQueues(context, memory, { launch, terminate })
  memory.backlog = { of: calls.backlog, limit: (provider) => calls.places(provider) * 2 }

  state.onWorker((now, before) => {
    const { id, provider } = now
    if (now.phase === before?.phase) {
      const urgent = now.phase === 'terminating' && now.terminate_force === 1 && before.terminate_force === 0
      // An operator's force does not wait for a polite call, nor for the time of the next one.
      if (urgent && !escalated.has(id)) {
        calls.withdraw(provider, { kind: 'terminate', id })
        calls.put(provider, { kind: 'terminate', id })
      }
      return
    }
    if (before?.phase === 'launching') {
      specs.delete(id)
      calls.withdraw(provider, { kind: 'launch', id })
    }
    if (now.phase === 'launching') calls.put(provider, { kind: 'launch', id })
    else if (now.phase === 'terminating') calls.put(provider, { kind: 'terminate', id })
    else if (now.ended_at !== null) {
      calls.withdraw(provider, { kind: 'terminate', id })
      calls.forget(id)
      forceAt.delete(id)
      escalated.delete(id)
    }
  })

  async function specOf(id: string): Promise<LaunchSpec> {
    const known = specs.get(id)
    if (known !== undefined) return known
    const row = await context.store.read
      .selectFrom('workers')
      .select('spec_sealed')
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
    const sealed = JSON.parse(context.sealer.open(row.spec_sealed ?? '', `worker:${id}`)) as LaunchSpec
    const spec = withTicket(sealed, context.sealer)
    specs.set(id, spec)
    return spec
  }

  /** What holds launches of this worker back; undefined: nothing. */
  function heldBack({ pool: name, provider }: LiveWorker): string | undefined {
    const left = context.plugins.leaving().includes(provider) ? `the configuration names ${provider} no longer` : undefined
    return context.wishes.paused(name) ?? context.wishes.disabled(provider) ?? left
  }

  /** As {@link heldBack}; where nothing was made, also that another provider can do it now. */
  function elsewhere(worker: LiveWorker): string | undefined {
    return heldBack(worker) ?? (calls.inDoubt(worker.id) ? undefined : betterPlace(context, memory, worker))
  }

  /** Since its call was begun. Whoever does not know it is not asked: the call waits again. */
  function isStranded(id: string): boolean {
    const worker = state.workers.get(id)
    return worker !== undefined && strandedBy(context, worker) !== undefined
  }

  async function takeBack(worker: LiveWorker, reason: string): Promise<void> {
    await takeBackLaunch(context, { id: worker.id, reason, doubt: calls.inDoubt(worker.id) })
  }

  async function launch(provider: GuardedProvider, id: string, signal: AbortSignal): Promise<void> {
    const worker = state.workers.get(id)
    if (worker?.phase !== 'launching') return
    killpoint('intent-written')
    const spec = await specOf(id)
    let reason = heldBack(worker)
    if (reason !== undefined) return takeBack(worker, reason)
    const doubt = calls.inDoubt(id)
    let launched: LaunchedWorker
    const span = spanOf(context, 'launch', { worker, parent: parts.traces.of(id) })
    try {
      await parts.preparation.ready(provider, worker.pool)
      // Preparing may have taken its time: nobody may want it any more.
      if (state.workers.get(id)?.phase !== 'launching') return span.end({ failed: 'cancelled' })
      reason = heldBack(worker)
      if (reason !== undefined) {
        span.end({ failed: 'taken-back' })
        return await takeBack(worker, reason)
      }
      while (!doubt && isMisplaced(context, id)) await placeLaunch(context, id)
      if (isStranded(id)) {
        span.end({ failed: 'put-off' })
        return calls.put(provider.name, { kind: 'launch', id })
      }
      const left = parts.startDue(worker) - clock.now()
      calls.setDoubt(id, true)
      const answer = provider.launch(spec, {
        idempotencyKey: id,
        attempt: worker.attempt + 1,
        timeoutMs: Math.max(1, Math.min(left, Math.max(LAUNCH_MS, left / 2))),
        traceparent: span.traceparent,
        signal,
      })
      killpoint('call-sent')
      launched = await answer
      killpoint('effect-done-answer-unread')
    } catch (thrown) {
      const error = toProviderError(thrown)
      span.end({ failed: error.code })
      if (error.effect === 'possible') calls.gaveUp(provider.name, id, clock.now())
      else if (!doubt) calls.setDoubt(id, false)
      await launchFailed(worker, { error, doubt })
      return
    }
    span.end()
    memory.forgive(provider.name, 'launched')
    context.conditions.clear({ scope: 'provider', name: provider.name, type: 'auth' })
    context.conditions.clear({ scope: 'pool', name: worker.pool, type: quotaCondition(provider.name) })
    killpoint('answer-read-not-stored')
    await pool.launched(id, launched)
    killpoint('launched-stored')
  }

  async function launchFailed(worker: LiveWorker, how: { error: ProviderError; doubt: boolean }): Promise<void> {
    const { id, provider } = worker
    const { error } = how
    // Ended meanwhile: the terminate that waits takes care of what may exist.
    if (state.workers.get(id)?.phase !== 'launching') return
    // Aborted by our own stop: the record stays in doubt, and the next start repeats the call.
    if (context.stopping.aborted) return
    const now = clock.now()
    const attempt = worker.attempt + 1
    const held = elsewhere(worker)
    const renewed = held === undefined && error.code === 'not-found' && parts.preparation.renew(worker)
    const given = { attempt, now, deadline: parts.startDue(worker), random: clock.random(), doubt: how.doubt, renewed }
    const reaction = reactToLaunch(error, given)
    if (reaction.kind === 'give-up') {
      const { path, quota, hint, retryAfterMs } = error
      await giveUp(context, memory, {
        id,
        failure: {
          code: error.code,
          message: error.message,
          doubt: reaction.doubt,
          next: reaction.next,
          ...(path === undefined ? {} : { path }),
          ...(quota === undefined ? {} : { quota }),
          ...(hint === undefined ? {} : { hint }),
          ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        },
      })
      return
    }
    // What would be repeated is not: whether the try that failed made something, its end finds out.
    if (held !== undefined) {
      await takeBack(worker, held)
      return
    }
    if (error.code === 'conflict') parts.relist(provider)
    if (reaction.hold !== undefined) throttle(memory, provider, { error, scope: reaction.hold, now })
    if (reaction.counts) await noteRetry(worker, { error, attempt, delayMs: reaction.delayMs, rule: 'launch-retry' })
    calls.put(provider, { kind: 'launch', id, delayMs: reaction.delayMs })
  }

  async function noteRetry(
    worker: LiveWorker,
    how: { error: ProviderError; attempt: number; delayMs: number; rule: JournalRule },
  ): Promise<void> {
    const { error, attempt, delayMs, rule } = how
    await persist(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const current = state.workers.get(worker.id)
      if (current?.phase !== worker.phase) return
      await journal(w, {
        rule,
        decision: `again in ${delayMs} ms`,
        pool: worker.pool,
        provider: worker.provider,
        workerId: worker.id,
        leaseId: worker.lease_id,
        inputs: { code: error.code, effect: error.effect, message: brief(error.message), attempt },
        change: 'The call succeeds, or its deadline passes.',
      })
      await changeWorker(w, current, { attempt, next_attempt_at: w.now + delayMs })
    })
  }

  async function terminate(provider: GuardedProvider, id: string, signal: AbortSignal): Promise<void> {
    const worker = state.workers.get(id)
    if (worker?.phase !== 'terminating') return
    killpoint('terminate-intent')
    if (worker.launched_at === null && !calls.inDoubt(id)) {
      await pool.gone(id, { end: 'never-made', by: 'no launch was sent' })
      return
    }
    const force = await forced(worker)
    let ended: Terminated
    const parent = await parts.traces.find(id)
    if (isStranded(id)) return calls.put(provider.name, { kind: 'terminate', id })
    const span = spanOf(context, 'terminate', { worker, parent })
    try {
      const answer = provider.terminate(
        targetOf(worker),
        { graceMs: worker.grace_ms, force, reason: worker.terminate_reason ?? 'ended' },
        {
          idempotencyKey: `${id}:terminate`,
          attempt: worker.attempt + 1,
          timeoutMs: worker.grace_ms + TERMINATE_MS,
          traceparent: span.traceparent,
          signal,
        },
      )
      killpoint('terminate-sent')
      ended = await answer
    } catch (thrown) {
      const error = toProviderError(thrown)
      span.end({ failed: error.code })
      await terminateFailed(worker, error)
      return
    }
    span.end()
    killpoint('terminate-accepted')
    context.conditions.clear({ scope: 'provider', name: provider.name, type: 'terminate-failing' })
    if (ended.state === 'gone' && clock.now() >= calls.lateUntil(id)) await pool.gone(id, { end: 'gone', by: 'terminate' })
    else follower.confirm(id, ended.state === 'terminating' && ended.by !== undefined ? Date.parse(ended.by) : undefined)
  }

  async function terminateFailed(worker: LiveWorker, error: ProviderError): Promise<void> {
    const { id, provider } = worker
    // Forgotten meanwhile: nobody waits for its end any more.
    if (context.stopping.aborted || state.workers.get(id)?.phase !== 'terminating') return
    if (error.code === 'not-found') {
      follower.confirm(id)
      return
    }
    if (error.code === 'cancelled' && error.effect === 'none') {
      calls.put(provider, { kind: 'terminate', id, delayMs: askedPause(error, NOT_SENT_MS) })
      return
    }
    if (error.code === 'throttled') throttle(memory, provider, { error, scope: 'terminate', now: clock.now() })
    const attempt = worker.attempt + 1
    const delayMs = Math.max(askedPause(error, 0), fullJitter(terminateBackoff, attempt, clock.random()))
    if (attempt === CONDITION_AT)
      context.conditions.raise({
        scope: 'provider',
        name: provider,
        type: 'terminate-failing',
        message: `workers cannot be terminated: ${error.code}: ${brief(error.message)}`,
        hint: error.hint ?? 'Tries go on; until they succeed these workers cost money and count against the limits.',
      })
    await noteRetry(worker, { error, attempt, delayMs, rule: 'terminate-retry' })
    calls.put(provider, { kind: 'terminate', id, delayMs })
  }

  /** Force is asked for once the grace and a good while have passed without an end. */
  async function forced(worker: LiveWorker): Promise<boolean> {
    if (worker.terminate_force === 1) return true
    const at = forceAt.get(worker.id) ?? clock.now() + worker.grace_ms + FORCE_AFTER_MS
    forceAt.set(worker.id, at)
    if (clock.now() < at) return false
    escalated.add(worker.id)
    await persist(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const current = state.workers.get(worker.id)
      if (current?.phase !== 'terminating' || current.terminate_force === 1) return
      await journal(w, {
        rule: 'terminate-force',
        decision: 'kill at once',
        pool: worker.pool,
        provider: worker.provider,
        workerId: worker.id,
        inputs: { graceMs: worker.grace_ms, overdueMs: w.now - at, attempt: worker.attempt },
        change: 'A longer grace of the pool leaves it more time.',
      })
      await changeWorker(w, current, { terminate_force: 1 })
    })
    return true
  }

  return {
    calls,
    remember: (id, spec) => specs.set(id, spec),
    takeBack: takeBackUnsent(context, memory, { calls, reason: elsewhere }),
  }
}
