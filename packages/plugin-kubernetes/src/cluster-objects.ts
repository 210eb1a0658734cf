/** What of one namespace of a cluster is asked: a few requests about its objects, which know nothing of workers. */
import type { ClusterClient } from './api/client.ts'
import type { Beside, ClusterEvent, Job, JobList, JobManifest, Kept, NamespaceObject, NodeObject } from './objects.ts'
import type { Pod, PodList, PodManifest, ResourceQuota, SecretManifest } from './objects.ts'

export interface PodQuery {
  selector: string
  limit?: number
  /** Goes on after the page before. */
  rest?: string | undefined
}

export type BesideKind = Beside['kind']

export interface Objects {
  readonly namespace: string
  readonly client: ClusterClient
  /** The API server's clock: what it dates is not compared with another one's. */
  now(): number
  /** The version of the API server, as `v1.34.1`. */
  version(signal: AbortSignal): Promise<string>
  /** `dryRun`: all checks, and nothing is made. */
  createPod(pod: PodManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Pod>
  /** Undefined when there is none. */
  readPod(name: string, signal: AbortSignal): Promise<Pod | undefined>
  listPods(query: PodQuery, signal: AbortSignal): Promise<PodList>
  /** Asks for its end; gives it as it is then, or undefined when there is none with this uid. */
  deletePod(name: string, how: { uid: string; graceSeconds: number; signal: AbortSignal }): Promise<Pod | undefined>
  /** Says of it whether somebody holds it; one that is not there, or not with this uid, is no failure. */
  markPod(name: string, how: { uid: string; leased: boolean; signal: AbortSignal }): Promise<void>
  createJob(job: JobManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Job>
  readJob(name: string, signal: AbortSignal): Promise<Job | undefined>
  listJobs(query: PodQuery, signal: AbortSignal): Promise<JobList>
  /** As that of a Pod; it goes once its Pod has gone. */
  deleteJob(name: string, how: { uid: string; signal: AbortSignal }): Promise<Job | undefined>
  /** Makes an object beside the Pods; one of its name that is there already is answered 409. */
  create<T extends Beside>(object: T, signal: AbortSignal): Promise<T>
  /** Makes it, or sets these of its fields; those that somebody else has set are answered 409. */
  apply(object: Partial<Beside> & Pick<Beside, 'kind' | 'metadata'>, signal: AbortSignal): Promise<void>
  /** Undefined when there is none. */
  read<T extends Beside>(kind: T['kind'], name: string, signal: AbortSignal): Promise<T | undefined>
  list(kind: BesideKind, selector: string, signal: AbortSignal): Promise<Beside[]>
  /** Only the object with this uid; one that is not there any more is no failure. */
  remove(kind: BesideKind, one: { name: string; uid: string | undefined }, signal: AbortSignal): Promise<void>
  /** Warnings about Pods, or about Jobs without one; of very many some. */
  listEvents(kind: 'Pod' | 'Job', signal: AbortSignal): Promise<ClusterEvent[]>
  listQuotas(signal: AbortSignal): Promise<ResourceQuota[]>
  /** Of the namespace itself; undefined when it is not there. */
  readNamespace(signal: AbortSignal): Promise<NamespaceObject | undefined>
  /** Only the one with this uid, with all that is in it. */
  removeNamespace(uid: string, signal: AbortSignal): Promise<void>
  /** Makes what bounds the namespace, or the namespace, or sets these of its fields; those that somebody else has set are answered 409. */
  keep(object: Kept, signal: AbortSignal): Promise<void>
  /** All nodes, and all Pods on them; undefined where we may not see them. */
  listNodes(signal: AbortSignal): Promise<{ nodes: NodeObject[]; pods: Pod[] } | undefined>
  /** One of this name that is there already stays. */
  putSecret(secret: SecretManifest, signal: AbortSignal): Promise<void>
}
