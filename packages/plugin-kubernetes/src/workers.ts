/** How a cluster keeps workers: as Pods of their own, or as Jobs with one Pod each. */
import type { ListQuery, OwnerTags, WorkerId } from '@muster/core'
import type { Change } from './api/store.ts'
import type { Pod, PodManifest } from './objects.ts'

export const workerKinds = ['pod', 'job'] as const
export type WorkerKind = (typeof workerKinds)[number]

/** By whom workers are told from others. */
export type Tags = Pick<OwnerTags, 'muster-owner' | 'muster-provider'>

/** Everything about workers that depends on their kind. All that is given is a worker as a Pod of the worker's name, whatever the cluster calls its Pod. */
export interface Workers {
  /**
   * Makes it; refusals of its Pod are refusals of this call. A name that is taken is answered 409, `AlreadyExists`. `dryRun`: all checks, and
   * nothing is made.
   */
  create(pod: PodManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Pod>
  /** By a quorum; undefined when there is none. */
  read(id: WorkerId, signal: AbortSignal): Promise<Pod | undefined>
  /** What has the name that {@link create} found taken; undefined when it has just gone. */
  again(id: WorkerId, signal: AbortSignal): Promise<Pod | undefined>
  /** Those of them that are there, by a quorum and in any order. */
  find(ids: readonly WorkerId[], tags: Tags, signal: AbortSignal): Promise<Pod[]>
  /** A page of all of them. Shorter than its limit, or empty, it may have a next one. */
  page(query: WorkerQuery, signal: AbortSignal): Promise<{ items: Pod[]; next?: string }>
  /** Is any object of such a worker there? */
  some(selector: string, signal: AbortSignal): Promise<boolean>
  /** Looks for what this provider has made as another kind, so that all of these see it; answers some of which only a part is seen. */
  unseen(tags: Tags, signal: AbortSignal): Promise<WorkerId[]>
  /** Of which kinds of objects Events are about workers. */
  readonly told: readonly ('Pod' | 'Job')[]
  /** Asks for its end; gives it as it is then, or undefined when nothing of it is there. */
  remove(id: WorkerId, how: Removal): Promise<Pod | undefined>
  /** Says of it whether somebody holds it; of one that is not there, or not with this uid, nothing. */
  mark(id: WorkerId, how: { uid: string; leased: boolean; signal: AbortSignal }): Promise<void>
  /** Has nothing of it been left, once what {@link follow} shows has gone? */
  isGone(id: WorkerId, uid: string, signal: AbortSignal): Promise<boolean>
  /** Tells of all of them, and of their changes. */
  follow(query: Pick<ListQuery, 'tags'>, options: FollowOptions): Followed
  /** A Pod that the cluster has, as the worker that it is of; any other as it is. */
  of(pod: Pod): Pod
  /** The name of the Pod whose log is to be read; undefined: it has none yet, and nobody waits for it. */
  logged(id: WorkerId, how: { follow: boolean; signal: AbortSignal }): Promise<string | undefined>
}

export interface WorkerQuery {
  selector: string
  limit: number
  /** Goes on after the page before. */
  rest?: string | undefined
}

export interface Removal {
  /** Only the one with this uid, which is that of its handle. */
  uid: string
  graceSeconds: number
  tags: Tags
  signal: AbortSignal
}

export interface FollowOptions {
  onFailure(error: Error): void
  isRefusal?(error: Error): boolean
  backOff?: { firstMs: number; mostMs: number } | undefined
  /** Milliseconds, never back; for tests. */
  clock?: (() => number) | undefined
}

/** `gone`: what was seen is there no more, or has lost the label that it was seen by; `uid` is that of the very object. */
export type WorkerChange = Change<Pod> & { uid: string }

export interface Followed {
  synced(signal: AbortSignal): Promise<void>
  changes(signal: AbortSignal): AsyncGenerator<WorkerChange>
  stop(): Promise<void>
}

/** What the cluster calls the Pod of a worker that has one. */
export function podNameOf({ metadata, job }: Pod): string {
  return job?.pod?.name ?? metadata.name
}

/** The uid by which Events name what they are about. */
export function eventUidOf({ metadata, job }: Pod): string | undefined {
  return job?.pod?.uid ?? metadata.uid
}

/** What goes with a worker is owned so. */
export function ownerOf({ metadata, job }: Pod): { apiVersion: string; kind: string; name: string; uid: string } {
  const { name, uid = '' } = metadata
  return job === undefined ? { apiVersion: 'v1', kind: 'Pod', name, uid } : { apiVersion: 'batch/v1', kind: 'Job', name, uid }
}

/** Has its Job been taken from above it? */
export function isOrphan({ metadata, job }: Pod): boolean {
  return job?.pod !== undefined && job.pod.uid === metadata.uid
}

/** Is it the same worker still, of the same Pod where both have one? The Job of one may have been suspended or stopped, and begun anew. */
export function isSame(now: Pod, before: Pod): boolean {
  const [pod, was] = [now.job?.pod?.uid, before.job?.pod?.uid]
  if (pod !== undefined && was !== undefined && pod !== was) return false
  return now.metadata.uid === before.metadata.uid || isOrphan(now)
}

/** Is it a Job's whose Pod is not there? */
export function isPodless({ job }: Pod): boolean {
  return job !== undefined && job.pod === undefined
}
