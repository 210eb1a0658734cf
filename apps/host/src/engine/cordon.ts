/** An operator takes a worker out of hand-outs, or puts it back. */
import { EngineError, type Wishing } from './api.ts'
import { type Context, mutate } from './context.ts'
import { beginEnd } from './ending.ts'
import type { LiveWorker } from './model.ts'
import { changeWorker, journal, leaseOf, writing, type Writing } from './records.ts'
import { by } from './words.ts'

/** Compare-and-set with whoever hands it out: what is written first counts, and the other sees it. */
export function setCordon(context: Context, id: string, how: Wishing & { cordoned: boolean }): Promise<LiveWorker> {
  return mutate(context, async (tx, after) => {
    const w = writing(context, tx, after)
    const worker = context.state.workers.get(id)
    if (worker === undefined)
      throw new EngineError('not-found', `there is no live worker ${id}`, { hint: '`muster workers` shows those that live.' })
    const { cordoned, principal, reason = '' } = how
    const words = cordoned ? by({ principal, reason }) : null
    if (worker.cordoned === Number(cordoned) && (!cordoned || worker.cordon_reason === words)) return worker
    if (cordoned && (worker.phase === 'terminating' || worker.phase === 'draining'))
      throw new EngineError('conflict', `worker ${id} is ${worker.phase}: it is handed out to nobody any more`, {
        hint: `\`muster why worker ${id}\` says why it ends.`,
      })
    await journal(w, {
      rule: cordoned ? 'worker-cordon' : 'worker-uncordon',
      decision: cordoned ? cordonWords(w, worker) : 'it is handed out again',
      pool: worker.pool,
      provider: worker.provider,
      workerId: id,
      leaseId: worker.lease_id,
      inputs: { principal, ...(reason === '' ? {} : { reason }), phase: worker.phase, expiresAt: worker.expires_at },
      change: cordoned ? 'Uncordon it.' : 'Cordon it.',
    })
    // What nobody could be handed was not waited for: its time begins anew.
    const idleSince = !cordoned && worker.phase === 'idle' ? { idle_since: w.now } : {}
    const next = await changeWorker(w, worker, { cordoned: Number(cordoned), cordon_reason: words, ...idleSince })
    if (cordoned || next.phase !== 'idle' || next.observed_ready !== 'false') return next
    // While it was left alone nobody minded; who is handed it now would.
    return beginEnd(w, next, {
      rule: 'idle-unfit',
      reason: 'it is no longer ready',
      change: 'It gets ready while it is cordoned.',
    })
  })
}

function cordonWords(w: Writing, worker: LiveWorker): string {
  const { uses } = w.context.state.pool(worker.pool).config
  if (leaseOf(w.context, worker) === undefined) return 'it is handed out to nobody, and left alone until its lifetime'
  return worker.uses + 1 < uses
    ? 'it goes on with its lease, and is left alone afterwards'
    : 'it goes on with its lease, and ends with it: that is its last'
}
