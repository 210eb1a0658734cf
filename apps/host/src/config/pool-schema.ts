/** The schema of `pools` in `muster.yaml`, and of the workers that they make. */
import { mountSchema, networkSpecSchema, securitySpecSchema } from '@muster/core'
import type { Mount, NetworkSpec, SecuritySpec } from '@muster/core'
import { z } from 'zod'
import { maxKeepMs } from '../engine/runs/keep.ts'
import { strict } from './document.ts'
import { envSchema, type ReadinessFile, readinessSchema, type ServiceFile, serviceSchema } from './readiness.ts'
import { shortName, text } from './text.ts'
import { atLeast, durationSchema, sizeSchema } from './units.ts'

const worker = strict({
  work: z.enum(['auto', 'command', 'hold', 'agent']).exactOptional().describe('How workers of this pool run. Default auto.'),
  lifetime: atLeast('30s').exactOptional().describe('Maximum age of a worker. Default 6h.'),
  grace: durationSchema.exactOptional().describe('Time between stop and kill. Default 10s.'),
  start: atLeast('1s').exactOptional().describe('Longest time from launch to ready. Default 5m.'),
  image: text.exactOptional().describe('Image that its workers are made of, where the provider has images.'),
  profile: text.exactOptional().describe('A kind of machine that the provider names, instead of an image.'),
  env: envSchema.exactOptional().describe('Variables of its workers.'),
  workdir: text.exactOptional().describe('Folder inside the worker where commands begin.'),
  resources: strict({
    cpu: z.number().positive().exactOptional().describe('vCPU, as 0.5.'),
    memory: sizeSchema.exactOptional().describe('At least so much, as 512Mi.'),
    disk: sizeSchema.exactOptional().describe('At least so much, as 10Gi.'),
    pids: z.int().min(1).exactOptional().describe('Most processes at once.'),
    gpus: z.int().min(1).exactOptional().describe('At least so many.'),
  }).exactOptional(),
  os: z.enum(['linux', 'windows', 'darwin']).exactOptional().describe('System of the worker, where the provider has several.'),
  arch: z.enum(['amd64', 'arm64']).exactOptional().describe('Kind of processor of the worker, where the provider has several.'),
  mounts: z
    .array(mountSchema)
    .exactOptional()
    .describe('What is mounted into its workers: a folder of the machine, a volume of the provider, memory.'),
  network: networkSpecSchema.exactOptional(),
  security: securitySpecSchema.exactOptional(),
  readiness: readinessSchema.exactOptional(),
  services: z
    .array(serviceSchema)
    .exactOptional()
    .describe('What stands beside each worker, as a database: started in this order before its job.'),
  labels: z.record(z.string(), z.string()).exactOptional().describe('Labels of your own on its workers.'),
  settings: z.unknown().exactOptional().describe("The provider's own part; its manifest has the schema."),
})

const pool = strict({
  placement: z.array(shortName).min(1).describe('Providers in order; the next one by the kind of error.'),
  worker: worker.exactOptional(),
  scale: strict({
    min: z.int().min(0).exactOptional().describe('Workers kept at least. Default 0.'),
    max: z.int().min(1).exactOptional().describe('Workers at most. Default 10.'),
    warm: z.int().min(0).exactOptional().describe('Idle workers kept ready. Default 0.'),
    idle: durationSchema.exactOptional().describe('How long a worker beyond these stays idle. Default 5m.'),
  }).exactOptional(),
  uses: z.int().min(1).exactOptional().describe('Leases one worker serves, one after the other. Default 1: a fresh worker each.'),
  queue: atLeast('1s').exactOptional().describe('Longest wait for a worker. Default 1h.'),
  keepFailed: durationSchema
    .refine((value) => value <= maxKeepMs, 'it is at most 24h: a kept worker costs as one that works')
    .meta({ formatMaximum: '24h' })
    .exactOptional()
    .describe('How long a worker whose run failed is kept for a look. Its workers hold then. Default: not at all.'),
  credentials: z
    .array(shortName)
    .exactOptional()
    .describe('Kept for grants of credentials. None can be configured yet: leave it out, or empty.'),
})

/** One entry of `pools`. */
export const poolSchema: z.ZodType<PoolFile> = pool

export interface PoolFile {
  placement: string[]
  worker?: WorkerFile
  scale?: { min?: number; max?: number; warm?: number; idle?: number }
  uses?: number
  queue?: number
  keepFailed?: number
  credentials?: string[]
}

export interface WorkerFile {
  work?: 'auto' | 'command' | 'hold' | 'agent'
  lifetime?: number
  grace?: number
  start?: number
  image?: string
  profile?: string
  env?: Record<string, string>
  workdir?: string
  resources?: { cpu?: number; memory?: number; disk?: number; pids?: number; gpus?: number }
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  mounts?: Mount[]
  network?: NetworkSpec
  security?: SecuritySpec
  readiness?: ReadinessFile
  services?: ServiceFile[]
  labels?: Record<string, string>
  settings?: unknown
}
