/** Pods as observations: those of one answer, with the Events that some of them need. */
import type { ListQuery, WorkerId, WorkerObservation } from '@muster/core'
import type { Cluster } from './client.ts'
import { tagsOf } from './labels.ts'
import type { ClusterEvent, Pod } from './objects.ts'
import { needsEvents, observe } from './observe.ts'

/** The way of a Pod that is well takes no longer: what is slower may have something to say. */
const SLOW_MS = 5_000

/** In their order; what is not ours is left out. */
export async function observeAll(
  cluster: Cluster,
  pods: readonly Pod[],
  asked: { tags: ListQuery['tags']; ids?: readonly WorkerId[]; now: number; signal: AbortSignal },
): Promise<WorkerObservation[]> {
  const { tags, ids, now, signal } = asked
  const own = pods.flatMap((pod) => {
    const found = tagsOf(pod.metadata)
    const ours = found?.['muster-owner'] === tags['muster-owner'] && found['muster-provider'] === tags['muster-provider']
    return found === undefined || !ours || ids?.includes(pod.metadata.name) === false ? [] : [{ pod, tags: found }]
  })
  const slow = own.some(({ pod }) => isSlow(pod, now))
  const events = slow
    ? Map.groupBy(await cluster.listEvents(signal), ({ involvedObject }) => involvedObject.uid)
    : new Map<string, ClusterEvent[]>()
  return own.map(({ pod, tags: found }) => observe(pod, found, isSlow(pod, now) ? events.get(pod.metadata.uid ?? '') : []))
}

function isSlow(pod: Pod, now: number): boolean {
  return needsEvents(pod) && now - Date.parse(pod.metadata.creationTimestamp ?? '') > SLOW_MS
}
