/** Our kinds of objects: what their status says, and what the controller reads of them. */
import type { PoolFile } from '@muster/host/config'
import { z } from 'zod'

/** https://github.com/kubernetes/community/blob/main/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties */
export interface StatusCondition {
  type: string
  status: 'True' | 'False' | 'Unknown'
  reason: string
  message: string
  lastTransitionTime: string
  observedGeneration?: number
}

export interface WorkerPoolStatus {
  observedGeneration?: number
  workers?: number
  idle?: number
  leased?: number
  starting?: number
  queued?: number
  conditions?: StatusCondition[]
}

export interface WorkerClassStatus {
  observedGeneration?: number
  pools?: number
  conditions?: StatusCondition[]
}

export interface WorkerStatus {
  phase?: string
  node?: string
  lease?: string
  launchedAt?: string
  readyAt?: string
  expiresAt?: string
  conditions?: StatusCondition[]
}

const count = z.int().min(0)
const text = z.string()
const time = z.iso.datetime().meta({ format: 'date-time' })

const conditions = z
  .array(
    z.strictObject({
      type: text.min(1).describe('CamelCase.'),
      status: z.enum(['True', 'False', 'Unknown']),
      reason: z
        .string()
        .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
        .describe('CamelCase, for programs.'),
      message: text.describe('For people.'),
      lastTransitionTime: time.describe('When the status was another one last.'),
      observedGeneration: count.exactOptional().describe('The metadata.generation that it speaks of.'),
    }),
  )
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
  .exactOptional()

const observedGeneration = count.exactOptional().describe('The metadata.generation that was looked at last.')

export const poolStatusSchema: z.ZodType<WorkerPoolStatus> = z.strictObject({
  observedGeneration,
  workers: count.exactOptional().describe('Live ones.'),
  idle: count.exactOptional().describe('Ready, and nobody has them.'),
  leased: count.exactOptional(),
  starting: count.exactOptional().describe('On their way to be ready.'),
  queued: count.exactOptional().describe('Leases that have no worker yet.'),
  conditions: conditions.describe('Accepted: the host goes by this spec. Ready: it serves leases by it.'),
})

export const classStatusSchema: z.ZodType<WorkerClassStatus> = z.strictObject({
  observedGeneration,
  pools: count.exactOptional().describe('WorkerPools that name it.'),
  conditions: conditions.describe('InUse: WorkerPools name it; it goes after the last of them.'),
})

export const workerStatusSchema: z.ZodType<WorkerStatus> = z.strictObject({
  phase: text.exactOptional().describe('queued, launching, starting, idle, leased, suspended, draining or terminating.'),
  node: text.exactOptional().describe('The machine or region that it lives in, where its provider says so.'),
  lease: text.exactOptional(),
  launchedAt: time.exactOptional(),
  readyAt: time.exactOptional(),
  expiresAt: time.exactOptional().describe('The end of its lifetime.'),
  conditions: conditions.describe('Ready: what its provider last said. Terminating: why one that is deleted is still there.'),
})

export interface WorkerSpec {
  pool: string
  provider: string
}

export const workerSpecSchema: z.ZodType<WorkerSpec> = z.strictObject({
  pool: text.min(1),
  provider: text.min(1),
})

export interface ObjectMeta {
  name: string
  namespace: string
  uid?: string
  resourceVersion?: string
  generation?: number
  deletionTimestamp?: string
  finalizers?: string[]
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
}

export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
}

interface Kind<Spec, Status> {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  spec: Spec
  status?: Status
}

/** As `pools.NAME` is written in `muster.yaml`: with units, and checked by the server; the host has the last word on it. */
export type PoolEntry = { [K in keyof PoolFile]: unknown }

export type WorkerPoolObject = Kind<PoolEntry & { class?: string }, WorkerPoolStatus>
export type WorkerClassObject = Kind<Record<string, unknown>, WorkerClassStatus>
export type WorkerObject = Kind<WorkerSpec, WorkerStatus>
