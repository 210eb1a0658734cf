/** Ends a worker: its Pod is asked for, with the grace that there is, and let go of when its node is lost. */
import { type Call, type OwnerTags, ProviderError, type Terminated, type TerminateHow, type WorkerTarget } from '@muster/core'
import type { Cluster } from './client.ts'
import { tagsOf } from './labels.ts'
import type { Pod } from './objects.ts'
import { instantOf } from './observe.ts'
import { secondsOf } from './containers.ts'
import { uidOf } from './translate.ts'

export interface StopParts {
  cluster: Cluster
  /** Whose workers we may end. */
  tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>
}

/** A kubelet that works has ended a Pod a moment after its grace; one that has not by then does not work. */
const LOST_MS = 10_000

/**
 * With no grace at all a Pod would be struck off while its processes still run: the least is a second, in which a kubelet that works
 * ends it and says so.
 */
const LEAST_SECONDS = 1

export async function stopWorker(parts: StopParts, stop: { target: WorkerTarget; how: TerminateHow }, call: Call): Promise<Terminated> {
  const { cluster, tags } = parts
  const { target, how } = stop
  const { signal } = call
  const uid = uidOf(target.handle) ?? (await ownUid(parts, target.id, signal))
  if (uid === undefined) return { state: 'gone' }
  const graceSeconds = how.force ? LEAST_SECONDS : secondsOf(how.graceMs)
  const ending = await cluster.deletePod(target.id, { uid, graceSeconds, signal })
  if (ending === undefined || isOver(ending)) return { state: 'gone' }
  const by = instantOf(ending.metadata.deletionTimestamp)
  if (!how.force || by === undefined || call.now() < Date.parse(by) + LOST_MS)
    return { state: 'terminating', ...(by === undefined ? {} : { by }) }
  call.log.warn('a worker whose node does not answer is let go', { worker: target.id, node: ending.spec.nodeName, ...tags })
  const struck = await cluster.deletePod(target.id, { uid, graceSeconds: 0, signal })
  return struck === undefined || isOver(struck) ? { state: 'gone' } : { state: 'terminating' }
}

async function ownUid({ cluster, tags }: StopParts, id: string, signal: AbortSignal): Promise<string | undefined> {
  const pod = await cluster.readPod(id, signal)
  const found = pod === undefined ? undefined : tagsOf(pod.metadata)
  if (found === undefined) return undefined
  if (found['muster-owner'] !== tags['muster-owner'] || found['muster-provider'] !== tags['muster-provider'])
    throw new ProviderError('conflict', "the worker of this id is another provider's", { effect: 'none' })
  return pod?.metadata.uid
}

/** What nobody waits for is struck off at once: one that has ended, or never had a node. */
function isOver({ metadata }: Pod): boolean {
  return metadata.deletionGracePeriodSeconds === 0 && (metadata.finalizers ?? []).length === 0
}
