/** What the status of WorkerPools and WorkerClasses says. Pure. */
import type { Condition, Pool } from '@muster/client'
import { camelCase, conditionsOf, type Finding } from '../conditions.ts'
import type { WorkerClassObject, WorkerClassStatus, WorkerPoolObject, WorkerPoolStatus } from '../objects.ts'
import type { Refusal } from './entries.ts'

export interface PoolFacts {
  /** Undefined: the host has none of this name. */
  pool: Pool | undefined
  /** Why its spec is not what the host goes by. */
  refused: Refusal | undefined
  /** Of the host, about this pool. */
  conditions: readonly Condition[]
  now: string
}

/** Phases of workers on their way to be ready. */
const STARTING = ['queued', 'launching', 'starting'] as const

export function poolStatusOf({ metadata, status }: WorkerPoolObject, facts: PoolFacts): WorkerPoolStatus {
  const { pool, now } = facts
  const generation = metadata.generation ?? 0
  const found = [
    acceptedOf(metadata.deletionTimestamp !== undefined, facts.refused),
    readyOf(facts),
    ...degradedOf(facts.conditions),
  ]
  const workers = pool?.workers ?? {}
  const sum = (phases: Iterable<string>): number => [...phases].reduce((all, phase) => all + (workers[phase] ?? 0), 0)
  return {
    observedGeneration: generation,
    workers: sum(Object.keys(workers)),
    idle: sum(['idle']),
    leased: sum(['leased']),
    starting: sum(STARTING),
    queued: pool?.queued ?? 0,
    conditions: conditionsOf(
      found.map((one) => ({ ...one, observedGeneration: generation })),
      status?.conditions,
      now,
    ),
  }
}

/** While the host does not answer: what was known stands, and is not known to hold. */
export function unknownStatusOf({ status }: WorkerPoolObject, why: string, now: string): WorkerPoolStatus {
  const others = (status?.conditions ?? []).filter(({ type }) => type !== 'Ready')
  const found: Finding = { type: 'Ready', status: 'Unknown', reason: 'HostUnreachable', message: why }
  return { ...status, conditions: [...others, ...conditionsOf([found], status?.conditions, now)] }
}

export function classStatusOf({ metadata, status }: WorkerClassObject, users: readonly string[], now: string): WorkerClassStatus {
  const generation = metadata.generation ?? 0
  const used = users.length > 0
  const message = used ? `The class of ${users.toSorted().join(', ')}.` : ''
  const found: Finding = { type: 'InUse', status: used ? 'True' : 'False', reason: used ? 'Named' : 'NotNamed', message }
  return {
    observedGeneration: generation,
    pools: users.length,
    conditions: conditionsOf([{ ...found, observedGeneration: generation }], status?.conditions, now),
  }
}

function acceptedOf(deleted: boolean, refused: Refusal | undefined): Finding {
  if (deleted)
    return { type: 'Accepted', status: 'False', reason: 'Deleted', message: 'It goes once the host has no worker of it.' }
  if (refused === undefined) return { type: 'Accepted', status: 'True', reason: 'InForce', message: '' }
  return { type: 'Accepted', status: 'False', ...refused }
}

function readyOf({ pool, refused }: PoolFacts): Finding {
  const type = 'Ready'
  if (pool === undefined || refused?.reason === 'NameTaken')
    return { type, status: 'False', reason: 'NotAccepted', message: refused?.message ?? 'The host has no such pool yet.' }
  if (pool.state === 'active') return { type, status: 'True', reason: 'Active', message: pool.waiting }
  const lives = Object.values(pool.workers).reduce((all, count) => all + count, 0)
  const message = pool.state === 'leaving' ? `${lives} workers live, ${pool.leases} leases go on.` : (pool.wish?.reason ?? '')
  return { type, status: 'False', reason: camelCase(pool.state), message }
}

function degradedOf(conditions: readonly Condition[]): Finding[] {
  const [first] = conditions
  if (first === undefined) return []
  const message = conditions.map(({ message }) => message).join(' ')
  return [{ type: 'Degraded', status: 'True', reason: camelCase(first.type), message }]
}
