/** Hints of change: first every worker that is there, then each one whose Pod changes. */
import type { Call, ListQuery, OwnerTags, WorkerId, WorkerObservation } from '@muster/core'
import { calls } from './api/calls.ts'
import { createReflector } from './api/reflector.ts'
import type { Change } from './api/store.ts'
import type { Cluster } from './client.ts'
import { ownerSelector, tagsOf } from './labels.ts'
import type { Pod } from './objects.ts'
import { observe } from './observe.ts'

export interface WatchParts {
  cluster: Cluster
  /** Did we ask for its end ourselves? */
  removed(id: WorkerId): boolean
}

/** Several changes of one worker that nobody has taken yet become one, so that a slow taker holds no more than one entry a worker. */
export async function* watchWorkers(parts: WatchParts, { tags }: ListQuery, call: Call): AsyncGenerator<WorkerObservation> {
  const { client, namespace } = parts.cluster
  const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: ownerSelector(tags) }
  const pods = createReflector<Pod>(client.requests, what, {
    onFailure: (error) => call.log.debug('the watch is opened again', { reason: error.message }),
  })
  try {
    for await (const change of pods.changes(call.signal)) {
      const observation = look(change)
      if (observation !== undefined) yield observation
    }
  } finally {
    await pods.stop()
  }

  function look({ type, object }: Change<Pod>): WorkerObservation | undefined {
    const found: OwnerTags | undefined = tagsOf(object.metadata)
    if (found === undefined) return undefined
    const observation = observe(object, found)
    if (type === 'set') return observation
    return parts.removed(found['muster-worker']) ? undefined : { ...observation, phase: 'lost', ready: false }
  }
}
