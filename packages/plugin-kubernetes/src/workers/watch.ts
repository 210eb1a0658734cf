/** Hints of change: first every worker that is there, then each one that changes. */
import type { Call, ListQuery, WorkerId, WorkerObservation } from '@muster/core'
import { isStatus } from '../api/failure.ts'
import type { Change } from '../api/store.ts'
import type { Cluster } from '../client.ts'
import type { Ends } from './ends.ts'
import { isOwn, tagsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { observe } from './observe.ts'
import { type Followed, isSame } from '../workers.ts'

export interface WatchParts {
  cluster: Cluster
  /** Did we ask for its end ourselves? */
  removed(id: WorkerId): boolean
  ends: Ends
  backOff?: { firstMs: number; mostMs: number }
  clock?: () => number
}

/** Several changes of one worker that nobody has taken yet become one, so that a slow taker holds no more than one entry a worker. */
export async function* watchWorkers(parts: WatchParts, { tags }: ListQuery, call: Call): AsyncGenerator<WorkerObservation> {
  const { cluster, backOff, clock } = parts
  const workers = cluster.workers.follow(
    { tags },
    {
      backOff,
      clock,
      onFailure: (error) => call.log.debug('the watch is opened again', { reason: error.message }),
      isRefusal: (error) => isStatus(error, 401) || isStatus(error, 403),
    },
  )
  const over = new AbortController()
  const telling = tellEnds(workers, parts.ends, AbortSignal.any([call.signal, over.signal]))
  try {
    for await (const change of workers.changes(call.signal)) {
      const observation = change.type === 'set' ? look(change.object) : await lookAfter(change)
      if (observation !== undefined) yield observation
    }
  } finally {
    over.abort()
    await workers.stop()
    await telling
  }

  function look(pod: Pod): WorkerObservation | undefined {
    const found = tagsOf(pod.metadata)
    return isOwn(found, tags) ? observe(pod, found, { now: cluster.now() }) : undefined
  }

  /** What the watch shows no more is gone, or has lost the label that it was seen by. */
  async function lookAfter({ object }: Change<Pod>): Promise<WorkerObservation | undefined> {
    const before = look(object)
    if (before === undefined || parts.removed(before.id)) return undefined
    try {
      const now = await cluster.workers.read(before.id, call.signal)
      const seen = now !== undefined && isSame(now, object) ? look(now) : undefined
      // What had a Pod, and is to get one, is begun anew: nothing of the worker is in that.
      if (seen !== undefined && (object.job?.pod === undefined || seen.phase !== 'provisioning')) return seen
      return { ...before, phase: 'lost', ready: false }
    } catch (error) {
      call.signal.throwIfAborted()
      call.log.debug('what became of a worker is not known', { worker: before.id, reason: (error as Error).message })
      return undefined
    }
  }
}

/** Beside whoever takes the observations, who may be slow. Never rejects: what ends the watch is told to the one who takes. */
async function tellEnds(workers: Followed, ends: Ends, signal: AbortSignal): Promise<void> {
  let close: (() => void) | undefined
  try {
    await workers.synced(signal)
    close = ends.open()
    for await (const { type, uid } of workers.changes(signal)) if (type === 'gone') ends.tell(uid)
  } catch {
    // Over.
  } finally {
    close?.()
  }
}
