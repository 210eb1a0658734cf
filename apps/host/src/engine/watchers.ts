/** Those who wait for a lease: told after each change of it or of its worker. */
import { EngineError, type Leases, type LeaseView } from './api.ts'
import type { Context } from './context.ts'
import type { LeaseRecord } from './model.ts'

export interface Watchers {
  wait: Leases['wait']
  observe: Leases['observe']
}

export function watchersOf(context: Context): Watchers {
  const { state } = context
  const listeners = new Map<string, Set<(view: LeaseView) => void>>()

  /** Changed by the commit that is being taken in: told once it is in as a whole, so that no view is half old. */
  const changed = new Map<string, LeaseRecord>()

  state.onLease(note)
  state.onWorker((now, before) => {
    for (const id of [now.lease_id, before?.lease_id ?? null]) {
      const lease = id === null ? undefined : state.leases.get(id)
      if (lease !== undefined) note(lease)
    }
  })

  function note(lease: LeaseRecord): void {
    if (!listeners.has(lease.id)) return
    if (changed.size === 0) queueMicrotask(tellAll)
    changed.set(lease.id, lease)
  }

  function tellAll(): void {
    const leases = [...changed.values()]
    changed.clear()
    for (const lease of leases) {
      const view = viewOf(lease)
      for (const listener of [...(listeners.get(lease.id) ?? [])]) listener(view)
    }
  }

  function viewOf(lease: LeaseRecord): LeaseView {
    const worker = lease.worker_id === null ? undefined : state.workers.get(lease.worker_id)
    return { lease, ...(worker === undefined ? {} : { worker }) }
  }

  function observe(id: string, listener: (view: LeaseView) => void): () => void {
    const told = listeners.get(id) ?? new Set()
    told.add(listener)
    listeners.set(id, told)
    return () => {
      told.delete(listener)
      if (told.size === 0 && listeners.get(id) === told) listeners.delete(id)
    }
  }

  async function wait(id: string, until: (view: LeaseView) => boolean, signal?: AbortSignal): Promise<LeaseView> {
    signal?.throwIfAborted()
    const done = (view: LeaseView): boolean => view.lease.state === 'ended' || until(view)
    const live = state.leases.get(id)
    if (live === undefined) {
      const lease = await context.store.read.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst()
      if (lease === undefined) throw new EngineError('not-found', `there is no lease ${id}`)
      if (lease.state === 'ended') return { lease }
    } else if (done(viewOf(live))) return viewOf(live)
    const { promise, resolve, reject } = Promise.withResolvers<LeaseView>()
    const abort = (): void => reject(signal?.reason)
    const stop = observe(id, (view) => {
      if (done(view)) resolve(view)
    })
    const stopping = (): void => reject(new EngineError('stopping', 'the daemon is stopping'))
    signal?.addEventListener('abort', abort)
    context.stopping.addEventListener('abort', stopping)
    try {
      // It may have changed while the store was asked.
      const now = state.leases.get(id)
      if (now !== undefined && done(viewOf(now))) return viewOf(now)
      return await promise
    } finally {
      stop()
      signal?.removeEventListener('abort', abort)
      context.stopping.removeEventListener('abort', stopping)
    }
  }

  return { wait, observe }
}
