/** What is known of a worker by its Pod, and by the Events about it. Pure. */
import type { Instant, OwnerTags, ProviderPhase, WorkerExit, WorkerObservation, WorkerProblem } from '@muster/core'
import type { ClusterEvent, Condition, ContainerStatus, Pod, TerminatedState } from '../objects.ts'
import { beforeProblem, creationProblem, eventProblem, rejectedProblem, scheduleProblem, waitingProblem } from './problems.ts'
import { handleOf, workerContainer } from '../translate.ts'
import { isPodless } from '../workers.ts'

export interface Sight {
  /** By the cluster's clock. */
  now: number
  /** Those about this Pod; only one that has not come to run needs them. */
  events?: readonly ClusterEvent[] | undefined
}

/** A kubelet that works has ended a Pod some seconds after its grace; a cluster itself gives a node up after 50 s of silence. */
export const LOST_MS = 60_000

export function observe(pod: Pod, tags: OwnerTags, { now, events = [] }: Sight): WorkerObservation {
  const { metadata, spec } = pod
  const phase = phaseOf(pod, now)
  const told = isPodless(pod) ? creationProblem(events) : eventProblem(events, now)
  const problem = problemOf(pod, phase, told)
  const exit = phase === 'exited' || phase === 'lost' ? exitOf(pod, phase) : undefined
  return {
    id: tags['muster-worker'],
    handle: handleOf(metadata),
    tags,
    phase,
    ready: phase === 'running' && workerOf(pod)?.ready === true && !isUnheard(pod),
    ...(spec.nodeName === undefined ? {} : { part: spec.nodeName }),
    ...(problem === undefined ? {} : { problem }),
    ...(exit === undefined ? {} : { exit }),
  }
}

/** Is there something about it that only Events tell? What is being made has no other voice. */
export function needsEvents(pod: Pod, now: number): boolean {
  const made = isPodless(pod) || scheduled(pod)?.status === 'True'
  return made && phaseOf(pod, now) === 'provisioning' && problemOf(pod, 'provisioning', undefined) === undefined
}

/** Does its worker's own container run? */
export function runsInside(pod: Pod): boolean {
  return workerOf(pod)?.state?.running !== undefined
}

function workerOf({ status }: Pod): ContainerStatus | undefined {
  return status?.containerStatuses?.find(({ name }) => name === workerContainer)
}

const conditionOf = (pod: Pod, type: string): Condition | undefined => pod.status?.conditions?.find((one) => one.type === type)

const scheduled = (pod: Pod): Condition | undefined => conditionOf(pod, 'PodScheduled')

/** Why the cluster takes a Pod away: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions */
const disruptions: Readonly<Record<string, Cause>> = {
  PreemptionByScheduler: { code: 'capacity', message: 'preempted: a Pod of higher priority needs its place' },
  DeletionByTaintManager: { code: 'transient', message: 'evicted: its node is tainted' },
  EvictionByEvictionAPI: { code: 'transient', message: 'evicted: its node is drained' },
  DeletionByPodGC: { code: 'transient', message: 'its node is gone' },
  TerminationByKubelet: { code: 'capacity', message: 'evicted: its node runs out of resources or shuts down' },
}

/** Our own word for a Pod that is not there any more while its Job is. */
export const GONE = 'PodGone'

type Cause = Pick<WorkerProblem, 'code' | 'message'>
const takenAway: Cause = { code: 'transient', message: 'the cluster takes it away' }
const lostNode: Cause = { code: 'transient', message: 'its node is lost' }

/** The word for the end of a Pod that its node or the cluster gave up, and what it means. */
const lostReasons: ReadonlySet<string> = new Set(['NodeLost', 'NodeShutdown', 'Shutdown', 'Terminated', GONE])

function disruptionOf(pod: Pod): WorkerProblem | undefined {
  const condition = conditionOf(pod, 'DisruptionTarget')
  if (condition?.status !== 'True') return undefined
  const { code, message } = isOfLostNode(pod, condition) ? lostNode : (disruptions[condition.reason ?? ''] ?? takenAway)
  return { code, message: withDetail(message, condition.message), final: true }
}

/** A node that does not answer is tainted by the cluster itself. */
function isOfLostNode(pod: Pod, { reason }: Condition): boolean {
  return reason === 'DeletionByTaintManager' && isUnheard(pod)
}

function withDetail(message: string, detail: string | undefined): string {
  return detail === undefined || detail.trim() === '' ? message : `${message}: ${detail.trim()}`
}

/** In which phase a Pod's worker is. */
export function phaseOf(pod: Pod, now: number): ProviderPhase {
  const { phase, reason = '' } = pod.status ?? {}
  if (phase === 'Unknown' || lostReasons.has(reason)) return 'lost'
  const state = workerOf(pod)?.state
  // A lifetime may end while the image is still on its way.
  if (state?.terminated?.reason === 'ContainerStatusUnknown' && reason !== OVERDUE) return 'lost'
  if (pod.metadata.deletionTimestamp !== undefined) return isLost(pod) || isLeftOver(pod, now) ? 'lost' : 'stopping'
  if (phase === 'Failed' && isLost(pod)) return 'lost'
  if (state?.terminated !== undefined || phase === 'Succeeded' || phase === 'Failed') return 'exited'
  return state?.running === undefined ? 'provisioning' : 'running'
}

/** Its node is away, so that nobody will say how it ended. */
function isLost(pod: Pod): boolean {
  return conditionOf(pod, 'DisruptionTarget')?.reason === 'DeletionByPodGC'
}

/** It was to end long ago, and its node has not said so: nobody will. */
function isLeftOver(pod: Pod, now: number): boolean {
  const until = Date.parse(pod.metadata.deletionTimestamp ?? '')
  return now >= until + LOST_MS && pod.spec.nodeName !== undefined && workerOf(pod)?.state?.terminated === undefined
}

/** Of a node that is silent the cluster says so, beside what the node has said last: that all containers are ready. */
function isUnheard(pod: Pod): boolean {
  return conditionOf(pod, 'Ready')?.status === 'False' && conditionOf(pod, 'ContainersReady')?.status === 'True'
}

function problemOf(pod: Pod, phase: ProviderPhase, told: WorkerProblem | undefined): WorkerProblem | undefined {
  const disruption = disruptionOf(pod)
  if (disruption !== undefined) return disruption
  if (phase === 'exited') return pod.status?.reason === OVERDUE ? undefined : startProblem(pod)
  if (phase === 'running' && isUnheard(pod)) return { code: 'transient', message: 'its node does not answer', final: false }
  if (phase !== 'provisioning') return undefined
  const place = scheduled(pod)
  if (place !== undefined && place.status !== 'True') return scheduleProblem(place)
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {}
  for (const status of initContainerStatuses) {
    const problem = beforeProblem(status)
    if (problem !== undefined) return problem
  }
  for (const { name, state } of containerStatuses) {
    const problem = state?.waiting === undefined ? undefined : waitingProblem(name, state.waiting)
    if (problem !== undefined) return problem
  }
  return told
}

/** An end before the command began is no end of the command's. */
function startProblem(pod: Pod): WorkerProblem | undefined {
  const ended = workerOf(pod)?.state?.terminated
  if (ended !== undefined) {
    if (!neverRan(ended)) return undefined
    return { code: 'invalid-spec', message: withDetail('the command does not start', ended.message), final: true }
  }
  const failed = pod.status?.initContainerStatuses?.find(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0)
  return failed === undefined ? rejectedProblem(pod.status) : beforeProblem(failed, true)
}

const neverRan = ({ reason }: TerminatedState): boolean => reason === 'StartError' || reason === 'ContainerCannotRun'

const OVERDUE = 'DeadlineExceeded'

/** Ends that the cluster caused: what the command answered to that is no exit code of its own. */
const forced: Readonly<Record<string, string>> = {
  Evicted: 'evicted',
  Preempting: 'preempted',
  [OVERDUE]: 'its lifetime is over',
}

function exitOf(pod: Pod, phase: ProviderPhase): WorkerExit {
  const { reason = '', message } = pod.status ?? {}
  const ended = workerOf(pod)?.state?.terminated
  const at = instantOf(ended?.finishedAt)
  const when = at === undefined ? {} : { at }
  const why = disruptionOf(pod)?.message ?? message ?? (reason === '' ? 'its node does not answer' : reason)
  if (phase === 'lost') return { reason: withDetail('lost', why), ...when }
  const cause = forced[reason]
  if (cause !== undefined) return { reason: withDetail(cause, message), ...when }
  const disruption = disruptionOf(pod)
  if (disruption !== undefined) return { reason: disruption.message, ...when }
  const problem = startProblem(pod)
  if (problem !== undefined) return { reason: problem.message, ...when }
  if (ended === undefined) return { reason: withDetail('ended without a word of its container', message), ...when }
  return { ...exitOfContainer(ended, limitOf(pod)), ...when }
}

function exitOfContainer({ exitCode: code, reason, signal }: TerminatedState, limit: string | undefined): WorkerExit {
  const told = code >= 0 && code <= 255 ? { code } : {}
  if (reason === 'OOMKilled')
    return {
      ...told,
      oomKilled: true,
      ...(code === 137 ? { signal: 'SIGKILL' } : {}),
      reason: `out of memory${limit === undefined ? '' : `: it reached its limit of ${limit}`}`,
    }
  return { ...told, reason: signal === undefined || signal === 0 ? `exited with code ${code}` : `ended by signal ${signal}` }
}

function limitOf({ spec }: Pod): string | undefined {
  return spec.containers.find(({ name }) => name === workerContainer)?.resources?.limits?.['memory']
}

/** The API's time (RFC 3339, whole seconds) as ours. */
export function instantOf(time: string | undefined): Instant | undefined {
  const at = new Date(time ?? Number.NaN)
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}
