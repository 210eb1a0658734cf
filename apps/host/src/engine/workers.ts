/** Workers as the API and the run driver see them. */
import { EngineError, type Workers } from './api.ts'
import { type Context, mutate } from './context.ts'
import { setCordon } from './cordon.ts'
import { beginEnd, endBoth } from './ending.ts'
import { forgetWorker } from './forget.ts'
import type { LiveWorker } from './model.ts'
import { changeWorker, leaseOf, writing } from './records.ts'
import { by, targetOf } from './words.ts'

const LIST = 500

/** Everything but the sealed spec. */
export const liveColumns: readonly (keyof LiveWorker)[] = [
  'id',
  'pool',
  'provider',
  'phase',
  'rev',
  'spec',
  'shape',
  'handle',
  'granted',
  'lease_id',
  'epoch',
  'attempt',
  'next_attempt_at',
  'created_at',
  'launched_at',
  'ready_at',
  'idle_since',
  'expires_at',
  'terminate_reason',
  'terminate_force',
  'grace_ms',
  'ended_at',
  'end',
  'observed_phase',
  'observed_ready',
  'observed_at',
  'part',
  'exit',
  'exited_at',
  'problem',
  'uses',
  'log_hold',
  'cordoned',
  'cordon_reason',
  'kept_until',
  'kept_for',
  'ticket_hash',
  'session_hash',
  'agent_at',
  'ahead',
  'plugin_version',
  'plugin_package',
  'provider_config',
]

export function workerRoom(context: Context): Workers {
  const { state, store } = context
  state.onWorker(({ id, ended_at: endedAt }) => {
    if (endedAt !== null) context.unfit.delete(id)
  })

  const terminate: Workers['terminate'] = (id, how) =>
    mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const worker = state.workers.get(id)
      if (worker === undefined)
        throw new EngineError('not-found', `there is no live worker ${id}`, { hint: '`muster workers` shows those that live.' })
      const { principal, reason = '', force } = how
      const lease = leaseOf(context, worker)
      if (lease !== undefined && !force)
        throw new EngineError('leased', `worker ${id} is held by lease ${lease.id}`, {
          hint: `Release that: muster leases release ${lease.id}; or end both: muster workers terminate ${id} --force`,
        })
      const end = {
        rule: 'operator-terminate' as const,
        reason: `terminated ${by({ principal, reason })}`,
        force,
        inputs: { principal, force },
      }
      return lease === undefined ? beginEnd(w, worker, end) : endBoth(w, worker, { ...end, end: 'cancelled' })
    })

  const confirmLogEnd: Workers['confirmLogEnd'] = async (id, also) => {
    context.killpoint('log-end-not-stored')
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const worker = state.workers.get(id)
      // Ended by a deadline meanwhile, or confirmed before: nothing is held any more.
      if (worker === undefined) return
      await also?.(tx, after, worker)
      if (worker.log_hold === 0) return
      const confirmed = await changeWorker(w, worker, { log_hold: 0 })
      if (worker.phase === 'draining')
        await beginEnd(w, confirmed, { rule: 'log-confirmed', reason: worker.terminate_reason ?? 'its run is over' })
    })
  }

  return {
    get: (id) => state.workers.get(id),
    find: (id) => store.read.selectFrom('workers').selectAll().where('id', '=', id).executeTakeFirst(),
    live: () => state.workers.values(),
    target: targetOf,
    terminate,
    cordon: (id, how) => setCordon(context, id, { ...how, cordoned: true }),
    uncordon: (id, how) => setCordon(context, id, { ...how, cordoned: false }),
    forget: (id, how) => forgetWorker(context, id, how),
    confirmLogEnd,
    unfit: (id) => {
      if (state.workers.has(id)) context.unfit.add(id)
    },
    list: async ({ pool, provider, ended = false, limit = 100, before }) => {
      let query = store.read.selectFrom('workers').select(liveColumns).orderBy('id', 'desc').limit(Math.min(limit, LIST))
      if (!ended) query = query.where('ended_at', 'is', null)
      if (pool !== undefined) query = query.where('pool', '=', pool)
      if (provider !== undefined) query = query.where('provider', '=', provider)
      if (before !== undefined) query = query.where('id', '<', before)
      return query.execute()
    },
  }
}
