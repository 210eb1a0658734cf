/**
 * The container before a worker with a closed network. Engines of policies act a moment after a Pod runs, and some clusters have none: it
 * tries an address that is forbidden until it is refused, and only then lets the services and the worker begin. Pure.
 */
import type { WorkerProblem } from '@muster/core'
import { literal } from '../pod/containers.ts'
import type { Container, ContainerStatus, Pod, TerminatedState } from '../objects.ts'
import type { GateConfig } from './network.ts'
import { besideOf } from '../pod/security.ts'

export const gateContainer = 'muster-gate'

/** It ends so when the address went on to answer. */
const OPEN = 1

/**
 * Refused twice, because one refusal may be of a network that is only being made. A time without an answer is a refusal: many engines
 * drop packets. The variables are those that every container has of the API server.
 */
const script = [
  'host=${2:-$KUBERNETES_SERVICE_HOST} port=${3:-$KUBERNETES_SERVICE_PORT}',
  'command -v nc >/dev/null || { echo "the image of config.gate has no nc"; exit 2; }',
  '[ -n "$host" ] || { echo "the address of the API server is not known: set config.gate.address"; exit 2; }',
  'refused=0 end=$(($(date +%s) + $1))',
  'while [ $(date +%s) -le $end ]; do',
  '  if nc -w 2 "$host" "$port" </dev/null >/dev/null 2>&1; then refused=0; else refused=$((refused + 1)); fi',
  '  [ $refused -lt 2 ] || exit 0',
  '  sleep 0.2 || sleep 1',
  'done',
  `echo "$host:$port is forbidden and still answered after $1 s: nothing enforces network policies here"; exit ${OPEN}`,
].join('\n')

/** `resources`: the worker's own, so that the Pod's quality of service and its sum are what they were. */
export function gateOf({ image, address, seconds }: GateConfig, resources?: Container['resources']): Container {
  const place = address === undefined ? [] : [address.host, String(address.port)]
  return {
    name: gateContainer,
    image,
    imagePullPolicy: 'IfNotPresent',
    command: ['/bin/sh', '-c', literal(script), gateContainer, String(seconds), ...place],
    args: [],
    ...(resources === undefined ? {} : { resources }),
    securityContext: { ...besideOf('65534:65534', {}), readOnlyRootFilesystem: true },
    // Its last words.
    terminationMessagePolicy: 'FallbackToLogsOnError',
  }
}

/** What a gate that has ended says of its node. */
export interface Verdict {
  enforced: boolean
  at: number
  message: string
}

/** Undefined while it has not ended, and when it could not tell. */
export function verdictOf({ status }: Pod): Verdict | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = status ?? {}
  const ended = gateEnd([...initContainerStatuses, ...containerStatuses])
  if (ended === undefined || (ended.exitCode !== 0 && ended.exitCode !== OPEN)) return undefined
  return { enforced: ended.exitCode === 0, at: Date.parse(ended.finishedAt ?? '') || 0, message: wordsOf(ended) }
}

function gateEnd(statuses: readonly ContainerStatus[]): TerminatedState | undefined {
  return statuses.find(({ name }) => name === gateContainer)?.state?.terminated
}

const wordsOf = ({ message = '', exitCode }: TerminatedState): string =>
  message.trim() === '' ? `the gate ended with code ${exitCode}` : message.trim()

/** Why a gate did not let the worker begin. */
export function gateProblem(ended: TerminatedState): WorkerProblem {
  const code = ended.exitCode === OPEN ? 'unsupported' : 'invalid-spec'
  return { code, message: `its network is not closed: ${wordsOf(ended)}`, final: true }
}
