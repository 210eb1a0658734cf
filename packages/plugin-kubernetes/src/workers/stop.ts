/** Ends a worker: its Pod is asked for, with the grace that there is, and let go of when its node is lost. */
import { type Call, type ListQuery, ProviderError, type Terminated, type TerminateHow, type WorkerTarget } from '@muster/core'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import type { Cluster } from '../client.ts'
import { secondsOf } from '../pod/containers.ts'
import type { Ends, Expected } from './ends.ts'
import { rawExecOf } from '../inside/exec.ts'
import { isOwn, tagsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { instantOf, LOST_MS, runsInside } from './observe.ts'
import { uidOf } from '../translate.ts'
import { isOrphan, podNameOf } from '../workers.ts'

export interface StopParts {
  cluster: Cluster
  /** Whose workers we may end. */
  tags: ListQuery['tags']
  ends: Ends
  /** The grace in seconds that this process asked for last, where it did. */
  before: number | undefined
}

/** What an API server answered to the wish, and what tells of the end. */
export interface Asked {
  answer: Terminated
  /** It was ended, or taken apart, by somebody else: what it owned may be there without it. */
  loose?: true
  ending?: { uid: string; expected: Expected }
}

/**
 * With no grace at all a Pod would be struck off while its processes still run: the least is a second, in which a kubelet that works
 * ends it and says so.
 */
export const LEAST_SECONDS = 1

/** A command that runs in a container on a node that works begins within that. */
const KILL_MS = 5_000

/** A kubelet needs one to two seconds for a Pod that ends at once; a longer grace is not worth one of the host's open calls. */
const WAIT_IN_CALL_MS = 3_000
/** An abort needs no more than the answer's way back; so the wait ends this long before the deadline. */
const ANSWER_MS = 500
/** Half of the calls of this kind that the host has open at once, by the manifest: the others are for what is asked for next. */
export const MOST_WAITING = 32

/** What the API dates is in whole seconds, and so is its clock as it is known here. */
const CLOCK_MS = 1_000

/** The wish for its end. An end that it expects must be waited for with {@link seeEnd}, or left. */
export async function askEnd(parts: StopParts, stop: { target: WorkerTarget; how: TerminateHow }, call: Call): Promise<Asked> {
  const { target, how } = stop
  // Where the handle names the very Pod, nobody need ask first whose it is.
  const known = uidOf(target.handle)
  const found = known === undefined ? await ownPod(parts, target.id, call.signal) : undefined
  const uid = known ?? found?.metadata.uid
  if (uid === undefined) return { answer: { state: 'gone' } }
  const expected = parts.ends.expect(uid)
  try {
    const asked = await ask(parts, { id: target.id, uid, how, found }, call)
    if (asked.answer.state === 'terminating' && expected !== undefined) return { ...asked, ending: { uid, expected } }
    expected?.leave()
    return asked
  } catch (error) {
    expected?.leave()
    throw error
  }
}

/** The answer, or that it is gone: once the watch shows it no more, an API server is asked for it by name. */
export async function seeEnd(
  cluster: Cluster,
  { id, asked: { answer, ending } }: { id: string; asked: Asked },
  { signal, deadline, now, log }: Call,
): Promise<Terminated> {
  if (ending === undefined) return answer
  const over = new AbortController()
  try {
    const wait = Math.max(0, Math.min(WAIT_IN_CALL_MS, deadline - now() - ANSWER_MS))
    const late = pause(wait, over.signal).then(() => 'late')
    if ((await raceAbort(Promise.race([ending.expected.told, late]), signal)) === 'late') return answer
    return (await cluster.workers.isGone(id, ending.uid, signal)) ? { state: 'gone' } : answer
  } catch (error) {
    signal.throwIfAborted()
    log.debug('whether a worker has gone is not known', { worker: id, reason: (error as Error).message })
    return answer
  } finally {
    over.abort()
    ending.expected.leave()
  }
}

interface Ending {
  id: string
  uid: string
  how: TerminateHow
  /** As it was before, where that had to be asked for. */
  found: Pod | undefined
}

async function ask({ cluster, tags, before }: StopParts, { id, uid, how, found }: Ending, call: Call): Promise<Asked> {
  const remove = (graceSeconds: number): Promise<Pod | undefined> =>
    cluster.workers.remove(id, { uid, graceSeconds, tags, signal: call.signal })
  const ending = await remove(how.force ? LEAST_SECONDS : secondsOf(how.graceMs))
  const loose = (ending === undefined ? before === undefined : isOrphan(ending)) ? { loose: true as const } : {}
  if (ending === undefined || isOver(ending)) return { answer: { state: 'gone' }, ...loose }
  const by = instantOf(ending.metadata.deletionTimestamp)
  const told = { answer: { state: 'terminating', ...(by === undefined ? {} : { by }) }, ...loose } as const
  if (!how.force || by === undefined) return told
  const overdueMs = cluster.now() - Date.parse(by)
  if (overdueMs >= LOST_MS) {
    call.log.warn('a worker whose node does not answer is let go', { worker: id, node: ending.spec.nodeName })
    const struck = await remove(0)
    return struck === undefined || isOver(struck) ? { answer: { state: 'gone' }, ...loose } : told
  }
  // Who was asked for anew is to end in a second from now: an earlier time is that of a longer grace, which was cut.
  const grace = before ?? found?.metadata.deletionGracePeriodSeconds
  if (grace === undefined ? overdueMs > CLOCK_MS : grace > LEAST_SECONDS) await killInside(cluster, ending, call)
  return told
}

/** Without a handle a Pod says itself whose it is. */
async function ownPod({ cluster, tags }: StopParts, id: string, signal: AbortSignal): Promise<Pod | undefined> {
  const pod = await cluster.workers.read(id, signal)
  if (pod === undefined) return undefined
  const found = tagsOf(pod.metadata)
  if (isOwn(found, tags)) return pod
  const whose = found === undefined ? 'says no more whose it is' : "is another provider's"
  throw new ProviderError('conflict', `the worker of this id ${whose}`, { effect: 'none' })
}

/** What nobody waits for is struck off at once: one that has ended, or never had a node. */
export function isOver({ metadata }: Pod): boolean {
  return metadata.deletionGracePeriodSeconds === 0 && (metadata.finalizers ?? []).length === 0
}

/**
 * A kubelet that waits for the end of one grace hears of no shorter one (seen with 1.34): what runs in the worker is killed from inside. In
 * an image without a shell it ends with its grace.
 */
async function killInside(cluster: Cluster, pod: Pod, { signal, log }: Call): Promise<void> {
  if (!runsInside(pod)) return
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(KILL_MS)])
  try {
    const argv = ['/bin/sh', '-c', 'kill -KILL -1']
    const { output, exit } = await rawExecOf(cluster, podNameOf(pod))({ argv, signal: bounded })
    exit.catch(() => {})
    for await (const _chunk of output);
  } catch (error) {
    // The connection may end with what it killed; whether it is gone is asked again anyway.
    log.debug('the command that kills ended', { worker: pod.metadata.name, reason: (error as Error).message })
  }
}
