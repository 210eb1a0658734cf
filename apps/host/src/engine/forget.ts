/** An operator closes a record that nothing else can close. */
import type { ProviderState } from '../plugins/api.ts'
import { EngineError } from './api.ts'
import { type Context, mutate } from './context.ts'
import { close } from './ending.ts'
import type { LiveWorker } from './model.ts'
import { changeLease, endLease, leaseOf, writing } from './records.ts'

/** Nobody is there who could be asked about its workers, and nothing but an operator changes that. */
export const helpless: readonly ProviderState[] = ['failed', 'stopped']

/**
 * The record's end is what drops its calls: those that wait are taken out, one that is open is aborted, and its answer finds nobody.
 * Whatever the vendor still has is found by the next list as an orphan, with a record that is closed.
 */
export function forgetWorker(context: Context, id: string, how: { principal: string; reason: string }): Promise<LiveWorker> {
  return mutate(context, async (tx, after) => {
    const w = writing(context, tx, after)
    const worker = context.state.workers.get(id)
    if (worker === undefined)
      throw new EngineError('not-found', `there is no live worker ${id}`, { hint: '`muster workers` shows those that live.' })
    const evidence = stuckBy(context, worker)
    const { principal, reason } = how
    const words = `forgotten by ${principal}: ${reason}`
    const lease = leaseOf(context, worker)
    // A lease that has not got its worker yet loses nothing: it waits for another.
    if (lease?.state === 'assigned') await changeLease(w, lease, { state: 'queued', worker_id: null, assigned_at: null })
    else if (lease !== undefined) await endLease(w, lease, { end: 'cancelled', reason: `its worker was ${words}` })
    const closed = await close(w, worker, {
      end: 'disowned',
      rule: 'worker-forgotten',
      inputs: {
        principal,
        reason,
        phase: worker.phase,
        evidence,
        ...(lease === undefined ? {} : { lease: lease.state === 'assigned' ? 'waits again' : 'ends' }),
        ...(worker.terminate_reason === null ? {} : { asked: worker.terminate_reason }),
      },
      change: 'Its provider confirms its end before. If the vendor still has it, it is removed as an orphan.',
      leaseId: lease?.id,
      also: { terminate_reason: words },
    })
    after(() => clearConditions(context, worker.provider))
    return closed
  })
}

/** Why nothing else can close it. Throws `conflict`, with what to do first, when something can. */
function stuckBy(context: Context, worker: LiveWorker): string {
  const { id, provider: name } = worker
  const provider = context.plugins.list().find((one) => one.name === name)
  if (provider === undefined) return `no provider ${name} is configured`
  const { state } = provider.status()
  if (helpless.includes(state)) return `provider ${name} is ${state}`
  if (worker.phase !== 'terminating')
    throw new EngineError('conflict', `worker ${id} is ${worker.phase}, and nobody has asked for its end`, {
      hint: `First: muster workers terminate ${id}${worker.lease_id === null ? '' : ' --force'}`,
    })
  if (worker.attempt > 0) return `${worker.attempt} tries to terminate it have failed`
  if (worker.terminate_force === 1) return 'it was told to end at once, and is not confirmed gone'
  throw new EngineError('conflict', `the end of worker ${id} is under way, and no try has failed`, {
    hint: `First: muster workers terminate ${id} --force`,
  })
}

/** What an operator was told about this worker holds no longer, where it was the last of its kind. */
function clearConditions(context: Context, provider: string): void {
  const { state, conditions, plugins } = context
  const left = [...state.ofProvider(provider)].flatMap((id) => state.workers.get(id) ?? [])
  if (!left.some((one) => one.phase === 'terminating' && one.attempt > 0))
    conditions.clear({ scope: 'provider', name: provider, type: 'terminate-failing' })
  if (left.length === 0 && !plugins.list().some((one) => one.name === provider))
    conditions.clear({ scope: 'provider', name: provider, type: 'missing' })
}
