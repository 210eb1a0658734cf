/** Ends a worker: its Pod is asked for, with the grace that there is, and let go of when its node is lost. */
import { type Call, type ListQuery, ProviderError, type Terminated, type TerminateHow, type WorkerTarget } from '@muster/core'
import type { Cluster } from './client.ts'
import { secondsOf } from './containers.ts'
import { rawExecOf } from './exec.ts'
import { isOwn, tagsOf } from './labels.ts'
import type { Pod } from './objects.ts'
import { instantOf, LOST_MS, runsInside } from './observe.ts'
import { uidOf } from './translate.ts'

export interface StopParts {
  cluster: Cluster
  /** Whose workers we may end. */
  tags: ListQuery['tags']
}

/**
 * With no grace at all a Pod would be struck off while its processes still run: the least is a second, in which a kubelet that works
 * ends it and says so.
 */
export const LEAST_SECONDS = 1

/** A command that runs in a container on a node that works begins within that. */
const KILL_MS = 5_000

export async function stopWorker(
  parts: StopParts,
  stop: { target: WorkerTarget; how: TerminateHow },
  call: Call,
): Promise<Terminated> {
  const { target, how } = stop
  const { id } = target
  // Who is in no hurry need not ask first whose it is, where the handle names the very Pod.
  const known = how.force ? undefined : uidOf(target.handle)
  const found = known === undefined ? await ownPod(parts, target, call.signal) : undefined
  const uid = known ?? found?.metadata.uid
  if (uid === undefined) return { state: 'gone' }
  const ask = (graceSeconds: number): Promise<Pod | undefined> =>
    parts.cluster.deletePod(id, { uid, graceSeconds, signal: call.signal })
  const ending = await ask(how.force ? LEAST_SECONDS : secondsOf(how.graceMs))
  if (ending === undefined || isOver(ending)) return { state: 'gone' }
  const by = instantOf(ending.metadata.deletionTimestamp)
  const told = { state: 'terminating', ...(by === undefined ? {} : { by }) } as const
  if (found === undefined || !isLeft(found)) return told
  if (by !== undefined && parts.cluster.now() >= Date.parse(by) + LOST_MS) {
    call.log.warn('a worker whose node does not answer is let go', { worker: id, node: ending.spec.nodeName })
    const struck = await ask(0)
    return struck === undefined || isOver(struck) ? { state: 'gone' } : told
  }
  await killInside(parts.cluster, found, call)
  return told
}

/** Whatever became of its labels, the Pod with the handle's uid is ours; without a handle it says itself whose it is. */
async function ownPod({ cluster, tags }: StopParts, { id, handle }: WorkerTarget, signal: AbortSignal): Promise<Pod | undefined> {
  const pod = await cluster.readPod(id, signal)
  if (pod === undefined) return undefined
  const uid = uidOf(handle)
  if (uid !== undefined) return pod.metadata.uid === uid ? pod : undefined
  const found = tagsOf(pod.metadata)
  if (isOwn(found, tags)) return pod
  const whose = found === undefined ? 'says no more whose it is' : "is another provider's"
  throw new ProviderError('conflict', `the worker of this id ${whose}`, { effect: 'none' })
}

/** What nobody waits for is struck off at once: one that has ended, or never had a node. */
export function isOver({ metadata }: Pod): boolean {
  return metadata.deletionGracePeriodSeconds === 0 && (metadata.finalizers ?? []).length === 0
}

/** Was it asked for before, with more grace than it gets now? */
function isLeft({ metadata }: Pod): boolean {
  return metadata.deletionTimestamp !== undefined
}

/**
 * A kubelet that waits for the end of one grace hears of no shorter one (seen with 1.34): what runs in the worker is killed from inside. In
 * an image without a shell it ends with its grace.
 */
async function killInside(cluster: Cluster, pod: Pod, { signal, log }: Call): Promise<void> {
  if (!runsInside(pod) || (pod.metadata.deletionGracePeriodSeconds ?? 0) <= LEAST_SECONDS) return
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(KILL_MS)])
  try {
    const argv = ['/bin/sh', '-c', 'kill -KILL -1']
    const { output, exit } = await rawExecOf(cluster, pod.metadata.name)({ argv, signal: bounded })
    exit.catch(() => {})
    for await (const _chunk of output);
  } catch (error) {
    // The connection may end with what it killed; whether it is gone is asked again anyway.
    log.debug('the command that kills ended', { worker: pod.metadata.name, reason: (error as Error).message })
  }
}
