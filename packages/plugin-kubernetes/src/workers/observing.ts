/** Pods as observations: those of one answer, with the Events that some of them need. */
import type { Call, ListQuery, WorkerObservation } from '@muster/core'
import { raceAbort } from '@muster/provider-parts/waiting'
import type { Cluster } from '../client.ts'
import { isOwn, tagsOf } from '../labels.ts'
import type { ClusterEvent, Pod } from '../objects.ts'
import { needsEvents, observe } from './observe.ts'
import { eventUidOf } from '../workers.ts'

export interface Observer {
  /** In their order; what is not this provider's is left out. */
  observe(pods: readonly Pod[], tags: ListQuery['tags'], call: Pick<Call, 'signal' | 'log'>): Promise<WorkerObservation[]>
}

/** The way of a Pod that is well takes no longer: what is slower may have something to say. */
const SLOW_MS = 5_000
/** Events are of the whole namespace: whoever needs some within that time shares one answer. */
const SHARED_MS = 10_000
/** What they tell is worth no longer a wait. */
const PATIENCE_MS = 5_000

type ByUid = ReadonlyMap<string | undefined, readonly ClusterEvent[]>

export function createObserver(cluster: Cluster, clock: () => number = () => performance.now()): Observer {
  let known: { events: ByUid; until: number } = { events: new Map(), until: -Infinity }
  let asking: Promise<ByUid> | undefined

  return {
    async observe(pods, tags, call) {
      const now = cluster.now()
      const own = pods.flatMap((pod) => {
        const found = tagsOf(pod.metadata)
        return isOwn(found, tags) ? [{ pod, tags: found, slow: isSlow(pod, now) }] : []
      })
      const events: ByUid = own.some(({ slow }) => slow) ? await eventsFor(call) : new Map()
      return own.map(({ pod, tags: found, slow }) =>
        observe(pod, found, { now, events: slow ? events.get(eventUidOf(pod)) : undefined }),
      )
    },
  }

  /** Without them an observation is less, and no less true: their failure is none of its own. */
  async function eventsFor({ signal, log }: Pick<Call, 'signal' | 'log'>): Promise<ByUid> {
    if (clock() < known.until) return known.events
    asking ??= ask().finally(() => (asking = undefined))
    try {
      return await raceAbort(asking, signal)
    } catch (error) {
      signal.throwIfAborted()
      log.debug('events are not known', { reason: (error as Error).message })
      return known.events
    }
  }

  async function ask(): Promise<ByUid> {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS)
      const all = await Promise.all(cluster.workers.told.map((kind) => cluster.listEvents(kind, signal)))
      known = { ...known, events: Map.groupBy(all.flat(), ({ involvedObject }) => involvedObject.uid) }
      return known.events
    } finally {
      // What fails is not asked for again at once either.
      known.until = clock() + SHARED_MS
    }
  }
}

function isSlow(pod: Pod, now: number): boolean {
  return needsEvents(pod, now) && now - Date.parse(pod.metadata.creationTimestamp ?? '') > SLOW_MS
}
