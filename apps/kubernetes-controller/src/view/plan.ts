/** What is to be done so that a cluster shows the workers of a host as they are. Pure: {@link planView}. */
import { isDeepStrictEqual } from 'node:util'
import type { WorkerInfo } from '@muster/client'
import { camelCase, conditionsOf, type Finding } from '../conditions.ts'
import { API_VERSION, FINALIZER, FORCE_ANNOTATION, HOST_LABEL, POOL_LABEL } from '../group.ts'
import type { OwnerReference, WorkerObject, WorkerStatus } from '../objects.ts'

export type ViewStep =
  /** Makes it, or puts back on it what somebody took off. */
  | { do: 'make'; object: WorkerObject }
  | { do: 'status'; object: WorkerObject; status: WorkerStatus }
  /** Asks the host for the worker's end, since its object was deleted. */
  | { do: 'end'; id: string; force: boolean }
  /** It is held, and is not handed out again after that. */
  | { do: 'set-aside'; id: string }
  /** The worker has gone. */
  | { do: 'remove'; object: WorkerObject }

export interface ViewInput {
  namespace: string
  /** The value of the label that tells the hosts of a namespace apart. */
  host: string
  /** All that live. */
  workers: readonly WorkerInfo[]
  objects: Iterable<WorkerObject>
  /** Of a pool that is an object itself. */
  ownerOf(pool: string): OwnerReference | undefined
  now: string
}

/** Each step may be done again: those that a cluster was late to show are. */
export function planView({ namespace, host, workers, objects, ownerOf, now }: ViewInput): ViewStep[] {
  const live = new Map(workers.map((worker) => [worker.id, worker]))
  const shown = new Map([...objects].map((object) => [object.metadata.name, object]))
  const steps: ViewStep[] = []
  for (const object of shown.values()) if (!live.has(object.metadata.name)) steps.push({ do: 'remove', object })
  for (const worker of live.values()) {
    const object = shown.get(worker.id)
    if (object === undefined) {
      steps.push({ do: 'make', object: manifestOf(worker, { namespace, host, owner: ownerOf(worker.pool) }) })
      continue
    }
    const deleted = object.metadata.deletionTimestamp !== undefined
    if (!deleted && object.metadata.finalizers?.includes(FINALIZER) !== true)
      steps.push({ do: 'make', object: manifestOf(worker, { namespace, host, owner: ownerOf(worker.pool) }) })
    const status = statusOf(worker, object, now)
    if (!isDeepStrictEqual(status, object.status)) steps.push({ do: 'status', object, status })
    if (deleted) steps.push(...endOf(worker, object))
  }
  return steps
}

/** A leased worker is never ended by the way: whoever wants that says so on its object. */
function endOf(worker: WorkerInfo, { metadata }: WorkerObject): ViewStep[] {
  const { id, phase, lease, cordoned } = worker
  const force = metadata.annotations?.[FORCE_ANNOTATION] === 'true'
  if (phase === 'terminating') return force ? [{ do: 'end', id, force }] : []
  if (lease === undefined || force) return [{ do: 'end', id, force }]
  return cordoned ? [] : [{ do: 'set-aside', id }]
}

function manifestOf(
  { id, pool, provider }: WorkerInfo,
  { namespace, host, owner }: { namespace: string; host: string; owner: OwnerReference | undefined },
): WorkerObject {
  return {
    apiVersion: API_VERSION,
    kind: 'Worker',
    metadata: {
      name: id,
      namespace,
      labels: { [HOST_LABEL]: host, [POOL_LABEL]: pool },
      finalizers: [FINALIZER],
      ...(owner === undefined ? {} : { ownerReferences: [owner] }),
    },
    spec: { pool, provider },
  }
}

function statusOf(worker: WorkerInfo, { metadata, status }: WorkerObject, now: string): WorkerStatus {
  const { phase, part, lease, launchedAt, readyAt, expiresAt } = worker
  const found = [readyOf(worker), ...(metadata.deletionTimestamp === undefined ? [] : [terminatingOf(worker)])]
  return {
    phase,
    ...(part === undefined ? {} : { node: part }),
    ...(lease === undefined ? {} : { lease }),
    ...(launchedAt === undefined ? {} : { launchedAt }),
    ...(readyAt === undefined ? {} : { readyAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    conditions: conditionsOf(found, status?.conditions, now),
  }
}

const readiness = { true: 'True', false: 'False' } as const

function readyOf({ ready, observedPhase, phase, problem }: WorkerInfo): Finding {
  return {
    type: 'Ready',
    status: ready === 'true' || ready === 'false' ? readiness[ready] : 'Unknown',
    reason: camelCase(problem?.code ?? observedPhase ?? phase),
    message: problem?.message ?? '',
  }
}

function terminatingOf({ phase, lease, terminateReason }: WorkerInfo): Finding {
  const type = 'Terminating'
  if (phase !== 'terminating' && lease !== undefined)
    return {
      type,
      status: 'False',
      reason: 'Leased',
      message: `Lease ${lease} holds it, and nobody gets it after that. The annotation ${FORCE_ANNOTATION}=true ends both.`,
    }
  return { type, status: 'True', reason: 'Asked', message: terminateReason ?? '' }
}
