/** Why a Pod does not come to run, in the contract's words: what a scheduler, a kubelet and a registry say. Pure. */
import type { ProviderErrorCode, WorkerProblem } from '@muster/core'
import { ApiFailure } from '../api/failure.ts'
import { toKubernetesError } from '../api/verdict.ts'
import { filesContainer } from '../pod/files.ts'
import { gateContainer, gateProblem } from '../network/gate.ts'
import type { ClusterEvent, Condition, ContainerStatus, PodStatus } from '../objects.ts'

/** One row: what to look for, and what it means. The first row that fits wins. */
interface Row {
  words: RegExp
  code: ProviderErrorCode
  final: boolean
}

/** Of a registry that a node has asked. */
const pulls: readonly Row[] = [
  { words: /toomanyrequests|rate limit|429 Too Many/i, code: 'throttled', final: false },
  {
    words: /no match for platform|no matching manifest|does not match the specified platform/i,
    code: 'unsupported',
    final: true,
  },
  {
    words: /insufficient_scope|unauthorized|authentication required|no basic auth|denied|40[13] (?:Unauthorized|Forbidden)/i,
    code: 'auth',
    final: true,
  },
  { words: /not found|manifest unknown|name unknown/i, code: 'invalid-spec', final: true },
  { words: /no space left/i, code: 'capacity', final: false },
  { words: /SignatureValidationFailed|x509:|server gave HTTP response to HTTPS client/i, code: 'unsupported', final: true },
]

/** Of a kubelet that makes a container. */
const makings: readonly Row[] = [
  { words: /runAsNonRoot|non-numeric user|runAsUser breaks/i, code: 'invalid-spec', final: true },
  // Whoever makes it later makes the worker go on.
  { words: /(?:secret|configmap) "[^"]*" not found|couldn't find key/i, code: 'invalid-spec', final: false },
  { words: /no space left|cannot allocate memory/i, code: 'capacity', final: false },
]

/** Of a scheduler that has no node for it. A node may come, or get room, without our doing. */
const placings: readonly Row[] = [
  { words: /persistentvolumeclaim "[^"]*" (?:not found|is being deleted)/i, code: 'invalid-spec', final: true },
  { words: /unbound immediate PersistentVolumeClaims/i, code: 'capacity', final: false },
]

/** Reasons of Events that tell what a Pod in the making waits for. */
const troubles: Readonly<Record<string, { code: ProviderErrorCode; what: string }>> = {
  FailedMount: { code: 'transient', what: 'a volume is not mounted' },
  FailedAttachVolume: { code: 'transient', what: 'a volume is not attached to the node' },
  FailedMapVolume: { code: 'transient', what: 'a volume is not mapped' },
  FailedCreatePodSandBox: { code: 'transient', what: 'the node makes no sandbox' },
  FailedCreatePodContainer: { code: 'transient', what: 'the node makes no container' },
  NetworkNotReady: { code: 'transient', what: 'the network of the node is not ready' },
}

/** Reasons of a kubelet that refuses a Pod it was given. */
const rejections: readonly Row[] = [
  {
    words: /^(?:OutOf|UnexpectedAdmissionError|Preempting|Evicted|NodeAffinity|TopologyAffinity)/,
    code: 'capacity',
    final: true,
  },
]

/** A sidecar is started anew for ever; so often it is no accident. */
const RESTARTS = 2

function judge(rows: readonly Row[], text: string, otherwise: Omit<Row, 'words'>): Omit<Row, 'words'> {
  return rows.find(({ words }) => words.test(text)) ?? otherwise
}

function problem(message: string, { code, final }: Omit<Row, 'words'>): WorkerProblem {
  return { code, message, final }
}

/** Our own word for what no scheduler sees yet. */
export const HELD = 'JobHeld'

/** No node takes it: the message names each resource that lacks and each taint that is in the way. */
export function scheduleProblem({ reason, message = '' }: Condition): WorkerProblem | undefined {
  if (reason === HELD)
    return { code: 'capacity', message: 'its Job is suspended: a queue of the cluster, or somebody, holds it back', final: false }
  if (reason === 'SchedulingGated') return { code: 'transient', message: 'its scheduling is gated', final: false }
  if (reason !== 'Unschedulable' && reason !== 'SchedulerError') return undefined
  const why = message.replace(/ (?:no new claims to deallocate, )?preemption: .*$/s, '').replace(/[ .]*$/, '')
  return problem(`no node takes it: ${why}`, judge(placings, message, { code: 'capacity', final: false }))
}

/** A container that waits; undefined while that is the usual way to run. */
export function waitingProblem(
  name: string,
  { reason = '', message = '' }: { reason?: string; message?: string },
): WorkerProblem | undefined {
  const told = `${name}: ${message === '' ? reason : message}`
  switch (reason) {
    case '':
    case 'PodInitializing':
    case 'ContainerCreating':
      return undefined
    case 'InvalidImageName':
      return problem(`the name of an image is not valid: ${told}`, { code: 'invalid-spec', final: true })
    case 'ErrImageNeverPull':
      return problem(`the node has no such image, and must not pull it: ${told}`, { code: 'unsupported', final: true })
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'RegistryUnavailable':
    case 'ImageInspectError':
    case 'SignatureValidationFailed':
      return problem(
        `the image is not pulled: ${told}`,
        judge(pulls, `${reason} ${message}`, { code: 'transient', final: false }),
      )
    case 'CreateContainerConfigError':
    case 'CreateContainerError':
    case 'RunContainerError':
    case 'PreCreateHookError':
    case 'PreStartHookError':
    case 'PostStartHookError':
      return problem(`the container is not made: ${told}`, judge(makings, message, { code: 'transient', final: false }))
    case 'CrashLoopBackOff':
      return problem(`it ends again and again: ${told}`, { code: 'invalid-spec', final: true })
    default:
      return problem(`it waits: ${told}`, { code: 'transient', final: false })
  }
}

/** A service or a program that runs before the worker. `over`: the Pod has ended by it. */
export function beforeProblem(
  { name, state, lastState, restartCount = 0 }: ContainerStatus,
  over = false,
): WorkerProblem | undefined {
  const ended = state?.terminated ?? lastState?.terminated
  if (ended !== undefined && ended.exitCode !== 0 && (over || restartCount >= RESTARTS)) {
    if (name === gateContainer) return gateProblem(ended)
    const what =
      name === filesContainer
        ? 'its files cannot be put in their places: what copies them'
        : name.startsWith('s-')
          ? `the service ${name.slice(2)} does not get ready: it`
          : `the program ${name.slice(2)} before it`
    return { code: 'invalid-spec', message: `${what} ended with code ${ended.exitCode}`, final: true }
  }
  return state?.waiting === undefined ? undefined : waitingProblem(name, state.waiting)
}

/** A Pod that its node refused before any container was made. */
export function rejectedProblem(status: PodStatus | undefined): WorkerProblem | undefined {
  const { reason = '', message = '', containerStatuses = [] } = status ?? {}
  if (reason === '' || containerStatuses.some(({ state }) => state?.terminated !== undefined)) return undefined
  const row = rejections.find(({ words }) => words.test(reason))
  return row === undefined ? undefined : problem(`its node refused it: ${message === '' ? reason : message}`, row)
}

/** A kubelet tries again, and says so, every two minutes: what is older was overcome. */
const STALE_MS = 180_000

/** What Events tell of a Pod in the making: the newest warning that says what it waits for. */
export function eventProblem(events: readonly ClusterEvent[], now: number): WorkerProblem | undefined {
  const known = events.filter(
    (event) => event.type !== 'Normal' && troubles[event.reason ?? ''] !== undefined && now - timeOf(event) < STALE_MS,
  )
  const newest = known.toSorted((left, right) => timeOf(left) - timeOf(right)).at(-1)
  const trouble = troubles[newest?.reason ?? '']
  if (newest === undefined || trouble === undefined) return undefined
  const told = `${trouble.what}: ${newest.message ?? ''}`
  return problem(told, judge(makings, newest.message ?? '', { code: trouble.code, final: false }))
}

/** Why a Job's controller makes no Pod: what the newest Event says, however old; it tries again, ever more rarely. */
export function creationProblem(events: readonly ClusterEvent[]): WorkerProblem | undefined {
  const refusals = events.filter(({ reason }) => reason === 'FailedCreate')
  const newest = refusals.toSorted((left, right) => timeOf(left) - timeOf(right)).at(-1)
  if (newest === undefined) return undefined
  const words = (newest.message ?? '').replace(/^Error creating: /, '')
  // The controller tells the words of an API server's answer, not its status.
  const status = / is forbidden: /.test(words) ? 403 : / is invalid: /.test(words) ? 422 : 500
  const { code } = toKubernetesError(new ApiFailure(words, { status, sent: true }), { doing: 'make its Pod', mutates: true })
  const passes = code === 'quota' || code === 'transient' || code === 'throttled' || code === 'capacity' || code === 'conflict'
  return { code, message: `its Job makes no Pod: ${words}`, final: !passes }
}

const timeOf = ({ lastTimestamp, eventTime }: ClusterEvent): number => Date.parse(lastTimestamp ?? eventTime ?? '') || 0
