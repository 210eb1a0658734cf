/** Which trace a worker belongs to: that of the lease it was made for, or that it serves; kept until it is gone. */
import { traceOfRequest, type TraceSpan } from '../observe/trace.ts'
import type { Context } from './context.ts'
import type { LiveWorker } from './model.ts'

export interface Traces {
  /** As far as memory goes. */
  of(workerId: string): string | undefined
  /** Also for a worker whose lease had ended before this host started. */
  find(workerId: string): Promise<string | undefined>
}

export function tracesOf(context: Context): Traces {
  const { state } = context
  const known = new Map<string, string>()
  /** Taken over while they were on their way out: only the journal says whom they served. */
  const inherited = new Set<string>()

  state.onWorker((now, before) => {
    if (now.ended_at !== null) {
      known.delete(now.id)
      inherited.delete(now.id)
      return
    }
    if (now.lease_id === null) {
      if (before === undefined && (now.phase === 'terminating' || now.phase === 'draining')) inherited.add(now.id)
      // Idle again, for whoever comes next.
      if (now.phase === 'idle') known.delete(now.id)
      return
    }
    if (before?.lease_id === now.lease_id) return
    const trace = traceOfRequest(state.leases.get(now.lease_id)?.request)
    if (trace !== undefined) known.set(now.id, trace)
  })

  async function find(workerId: string): Promise<string | undefined> {
    if (!inherited.delete(workerId)) return known.get(workerId)
    const rows = await context.journal.why('worker', workerId)
    const leaseId = rows.findLast((row) => row.lease_id !== null)?.lease_id ?? ''
    const lease = await context.store.read.selectFrom('leases').select('request').where('id', '=', leaseId).executeTakeFirst()
    const trace = traceOfRequest(lease?.request)
    if (trace !== undefined && state.workers.has(workerId)) known.set(workerId, trace)
    return trace
  }

  return { of: (workerId) => known.get(workerId), find }
}

/** Of what is done to a worker: each must be ended, also where its call is not sent. */
export function spanOf(
  { tracing }: Pick<Context, 'tracing'>,
  what: 'launch' | 'terminate',
  { worker, parent }: { worker: LiveWorker; parent: string | undefined },
): TraceSpan {
  const { id, pool, provider, attempt } = worker
  const facts = { 'muster.pool': pool, 'muster.provider': provider, 'muster.worker': id, 'muster.attempt': attempt + 1 }
  return tracing.start(`worker ${what}`, { parent, facts })
}
