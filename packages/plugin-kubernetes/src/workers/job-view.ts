/** Workers that are Jobs, seen as Pods of the workers' names. Pure. */
import { tagsOf } from '../labels.ts'
import { GONE } from './observe.ts'
import { HELD } from './problems.ts'
import type { Condition, Job, JobManifest, Meta, Pod, PodManifest, PodStatus } from '../objects.ts'

/** What every Pod of a Job has from its controller. */
export const JOB_NAME = 'batch.kubernetes.io/job-name'

/**
 * The Job of a worker. It makes one Pod and never a second one: with no failure left to it, whatever ends the Pod fails the Job, and until the
 * Pod has really ended there is none in its place. It stays until it is taken away, and with it its exit: a time to live would be one
 * in which nobody may have read it. The Pod's lifetime is its own, since a Job that is overdue deletes its Pod, and how it ended.
 */
export function jobOf({ metadata, spec }: PodManifest): JobManifest {
  const { labels = {}, annotations = {} } = metadata
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata,
    spec: {
      completions: 1,
      parallelism: 1,
      backoffLimit: 0,
      podReplacementPolicy: 'Failed',
      template: { metadata: { labels, annotations }, spec },
    },
  }
}

/** A Pod of a cluster as the worker that it is of: that of its Job, or of one that has been taken away from above it. */
export function workerOfPod(pod: Pod): Pod {
  const { metadata } = pod
  if (tagsOf(metadata) !== undefined) return pod
  const own = { pod: { name: metadata.name, uid: metadata.uid ?? '' } }
  const job = metadata.ownerReferences?.find(({ controller, kind }) => controller === true && kind === 'Job')
  // Jobs call their Pods so: https://kubernetes.io/docs/concepts/workloads/controllers/job/
  const name = job?.name ?? metadata.name.replace(/-[^-]*$/, '')
  if (tagsOf({ ...metadata, name }) === undefined) return pod
  return { ...pod, metadata: { ...metadata, name, ...(job === undefined ? {} : { uid: job.uid }) }, job: own }
}

/** A Job as the worker that it is; `pods` are those that it has, of which the first one is the worker. */
export function workerOfJob(job: Job, pods: readonly Pod[] = []): Pod {
  const { metadata, spec } = job
  const template = spec?.template.metadata
  const named = template === undefined ? {} : { template }
  const [pod] = pods.toSorted((left, right) => bornAt(left.metadata) - bornAt(right.metadata))
  if (pod === undefined)
    return { metadata, spec: spec?.template.spec ?? { containers: [] }, status: statusOf(job), job: { ...named } }
  const { name, uid = '', deletionTimestamp = metadata.deletionTimestamp, deletionGracePeriodSeconds, finalizers } = pod.metadata
  return {
    ...pod,
    metadata: {
      ...metadata,
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      ...(deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds }),
      finalizers: [...(metadata.finalizers ?? []), ...(finalizers ?? [])],
    },
    job: { ...named, pod: { name, uid } },
  }
}

const bornAt = ({ creationTimestamp }: Meta): number => Date.parse(creationTimestamp ?? '') || 0

/** A queue of the cluster has suspended it as it was made, and nobody has let it go yet: it had no Pod. */
function isHeld({ metadata: { generation = 1 }, status: { startTime, conditions = [] } = {} }: Job): boolean {
  // Queues that suspend one later take its start time away again.
  return generation === 1 && startTime === undefined && finished(conditions)?.type === SUSPENDED
}

/** Has it a Pod, or had it one? */
export function hasBegun(job: Job): boolean {
  if (isHeld(job)) return false
  const { status = {} } = job
  const { active = 0, succeeded = 0, failed = 0, terminating = 0, uncountedTerminatedPods: uncounted = {} } = status
  const ended = (uncounted.succeeded?.length ?? 0) + (uncounted.failed?.length ?? 0)
  return active + succeeded + failed + terminating + ended > 0 || isOver(status.conditions)
}

/** Will it do nothing any more? */
export function isFinished(job: Job): boolean {
  return !isHeld(job) && isOver(job.status?.conditions)
}

const SUSPENDED = 'Suspended'

const isOver = (conditions: readonly Condition[] = []): boolean => finished(conditions) !== undefined

const finished = (conditions: readonly Condition[]): Condition | undefined =>
  conditions.find(
    ({ type, status }) => status === 'True' && /^(?:Complete|SuccessCriteriaMet|Failed|FailureTarget|Suspended)$/.test(type),
  )

/**
 * What the Pod's own would be, where there is none: not made yet, or gone while its Job stays. A Job that is complete is no exit of the worker:
 * one that is taken away, and answers to that with code 0, completes it too.
 */
function statusOf(job: Job): PodStatus {
  // One that is being taken away tells no more.
  if (isHeld(job)) return { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: HELD }] }
  if (!hasBegun(job) || job.metadata.deletionTimestamp !== undefined) return { phase: 'Pending' }
  const { message = '' } = finished(job.status?.conditions ?? []) ?? {}
  return { phase: 'Failed', reason: GONE, message: `its Pod is gone${message === '' ? '' : `; its Job says: ${message}`}` }
}
