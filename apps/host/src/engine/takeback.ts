/**
 * A launch that was decided and shall not be made: before the call was sent, its pool was paused, its provider disabled, or its provider is
 * away while another one could serve it.
 */
import { background, type Context, persist } from './context.ts'
import type { CallQueues } from './calls.ts'
import { beginEnd, close } from './ending.ts'
import type { Memory } from './memory.ts'
import type { LiveWorker } from './model.ts'
import { choose } from './placement.ts'
import { changeLease, changeWorker, journal, leaseOf, writing } from './records.ts'

export interface TakenBack {
  id: string
  /** What holds launches back. */
  reason: string
  /** An earlier try may have made it: terminated, and confirmed gone, before the record closes. */
  doubt: boolean
}

/** The lease goes back to its place in the queue; the failure is nobody's, so nothing is remembered against the provider. */
export async function takeBackLaunch(context: Context, { id, reason, doubt }: TakenBack): Promise<void> {
  await persist(context, async (tx, after) => {
    const w = writing(context, tx, after)
    const worker = context.state.workers.get(id)
    if (worker?.phase !== 'launching') return
    const lease = leaseOf(context, worker)
    await journal(w, {
      rule: 'launch-taken-back',
      decision: lease === undefined ? 'not launched' : 'not launched, its lease waits again',
      pool: worker.pool,
      provider: worker.provider,
      workerId: id,
      leaseId: lease?.id,
      inputs: { reason, attempt: worker.attempt, doubt },
      change: 'The pool is resumed, the provider enabled or well again.',
    })
    if (lease !== undefined) await changeLease(w, lease, { state: 'queued', worker_id: null, assigned_at: null })
    if (doubt) await beginEnd(w, worker, { rule: 'launch-undo', reason: `not launched: ${reason}` })
    else {
      const marked = await changeWorker(w, worker, { terminate_reason: `not launched: ${reason}` })
      await close(w, marked, { end: 'never-made', rule: 'worker-never-made' })
    }
  })
}

/** What takes back all launches that have a reason for it: now, and once providers that are away for a moment were given their time. */
export function takeBackUnsent(
  context: Context,
  memory: Memory,
  { calls, reason }: { calls: CallQueues; reason(worker: LiveWorker): string | undefined },
): () => void {
  const { state, clock, plugins, stopping } = context
  const all = async (): Promise<void> => {
    const unsent = [...state.workers.values()].filter((one) => one.phase === 'launching' && !calls.isOpen(one.id))
    await Promise.all(
      unsent.map(async (worker) => {
        const { id, provider } = worker
        const why = reason(worker)
        if (why === undefined) return
        calls.withdraw(provider, { kind: 'launch', id })
        await takeBackLaunch(context, { id, reason: why, doubt: calls.inDoubt(id) })
      }),
    )
  }
  let cancel = (): void => undefined
  stopping.addEventListener('abort', () => cancel())
  function look(): void {
    background(context, 'launches could not be taken back', all)
    const now = clock.now()
    const times = plugins.list().flatMap(({ name }) => memory.standing(name).backBy ?? [])
    const next = Math.min(...times.filter((at) => at > now))
    cancel()
    cancel = next === Infinity ? () => undefined : clock.after(next - now, look)
  }
  return look
}

/** Another provider that could launch this one's work now, where its own does not answer: who does. Undefined: none, or it is well. */
export function betterPlace(context: Context, memory: Memory, worker: LiveWorker): string | undefined {
  const { id, provider: name, pool: poolName } = worker
  const state = context.plugins.find(name, id)?.status().state
  if (state === undefined || state === 'ready') return undefined
  // It may be back in a moment: the order of placements is an operator's word.
  if ((memory.standing(name).backBy ?? 0) > context.clock.now()) return undefined
  const pool = context.state.pool(poolName).config
  const lease = leaseOf(context, worker)
  const demand = lease === undefined ? memory.stock(pool) : memory.demand(lease)
  if (demand === undefined) return undefined
  const { provider } = choose(demand, memory.candidates(pool, demand, lease?.id), context.clock.now())
  return provider === undefined ? undefined : `${name} is ${state}, and ${provider} is ready`
}
