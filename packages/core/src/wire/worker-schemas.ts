/** Schemas of the values a worker provider takes and gives; those of {@link LaunchSpec} stand in spec.ts. */
import * as z from 'zod'
import { providerErrorCodes } from '../errors.ts'
import { providerPhases } from '../phase.ts'
import {
  type ExecResize,
  type ExecSpec,
  type ExecState,
  type Handle,
  type Headroom,
  type LaunchedWorker,
  type ListQuery,
  type LogOptions,
  type PoolRef,
  type PoolRequest,
  type Probe,
  type Quote,
  type QuoteShape,
  type StatsQuery,
  type SuspendHow,
  type WorkerMark,
  suspendKeeps,
  type TerminalSize,
  type Terminated,
  type TerminateHow,
  type WorkerExit,
  type WorkerObservation,
  type WorkerPage,
  type WorkerStats,
  type WorkerTarget,
} from '../provider.ts'
import { instantSchema, namePattern, ownerTagsSchema, resourcesSchema, workerIdSchema } from '../spec.ts'
import { maxHandleBytes, maxPageWorkers } from './limits.ts'

const name = z.string().regex(namePattern)
const count = z.int().min(0)
const amount = z.number().min(0)
const env = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())

export const handleSchema: z.ZodType<Handle> = z
  .strictObject({ v: z.int().min(1), data: z.unknown() })
  .refine((handle) => jsonBytes(handle) <= maxHandleBytes, `larger than ${maxHandleBytes} bytes`)

export const workerTargetSchema: z.ZodType<WorkerTarget> = z.strictObject({
  id: workerIdSchema,
  handle: handleSchema.exactOptional(),
})

export const probeSchema: z.ZodType<Probe> = z.strictObject({
  state: z.enum(['ready', 'initialising', 'failed']),
  message: z.string().exactOptional(),
  hint: z.string().exactOptional(),
  notes: z.array(z.string()).exactOptional(),
  facts: z.record(z.string(), z.string()).exactOptional(),
})

const providerTags = z.strictObject({ 'muster-owner': name, 'muster-provider': name })
const poolTags = z.strictObject({ 'muster-owner': name, 'muster-provider': name, 'muster-pool': name })
export const poolRefSchema: z.ZodType<PoolRef> = z.strictObject({ pool: name, tags: poolTags })
export const poolRequestSchema: z.ZodType<PoolRequest> = z.strictObject({
  pool: name,
  tags: poolTags,
  image: z.string().min(1).exactOptional(),
  serviceImages: z.array(z.string().min(1)).exactOptional(),
  egress: z.enum(['none', 'restricted', 'full']).exactOptional(),
  settings: z.unknown().exactOptional(),
})

export const launchedWorkerSchema: z.ZodType<LaunchedWorker> = z.strictObject({
  handle: handleSchema,
  granted: resourcesSchema.exactOptional(),
})

export const terminateHowSchema: z.ZodType<TerminateHow> = z.strictObject({
  graceMs: count,
  force: z.boolean(),
  reason: z.string(),
})
export const terminatedSchema: z.ZodType<Terminated> = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('gone') }),
  z.strictObject({ state: z.literal('terminating'), by: instantSchema.exactOptional() }),
])

export const listQuerySchema: z.ZodType<ListQuery> = z.strictObject({
  tags: providerTags,
  limit: z.int().min(1).max(maxPageWorkers),
  cursor: z.string().exactOptional(),
})

export const workerExitSchema: z.ZodType<WorkerExit> = z.strictObject({
  code: z.int().min(0).max(255).exactOptional(),
  signal: z
    .string()
    .regex(/^SIG[A-Z0-9+-]+$/)
    .exactOptional(),
  oomKilled: z.boolean().exactOptional(),
  memoryPeakBytes: amount.exactOptional(),
  reason: z.string(),
  at: instantSchema.exactOptional(),
})

export const workerObservationSchema: z.ZodType<WorkerObservation> = z.strictObject({
  id: workerIdSchema,
  handle: handleSchema,
  tags: ownerTagsSchema,
  phase: z.enum(providerPhases),
  ready: z.union([z.boolean(), z.literal('unknown')]),
  part: z.string().min(1).exactOptional(),
  problem: z.strictObject({ code: z.enum(providerErrorCodes), message: z.string(), final: z.boolean() }).exactOptional(),
  exit: workerExitSchema.exactOptional(),
})

export const workerPageSchema: z.ZodType<WorkerPage> = z.strictObject({
  workers: z.array(workerObservationSchema).max(maxPageWorkers),
  next: z.string().min(1).exactOptional(),
  asOf: instantSchema,
  blind: z.array(z.string().min(1)).exactOptional(),
})

export const execIdSchema: z.ZodType<string> = z.string().regex(/^x[0-9a-z]{26}$/)

/** As the kernel has it (tty_ioctl(4), struct winsize), but for 0, which is "not known". */
const extent = z.int().min(1).max(65_535)
const terminalSizeSchema: z.ZodType<TerminalSize> = z.strictObject({ columns: extent, rows: extent })
export const suspendHowSchema: z.ZodType<SuspendHow> = z.strictObject({ keeps: z.enum(suspendKeeps) })
export const workerMarkSchema: z.ZodType<WorkerMark> = z.strictObject({ leased: z.boolean() })
export const execResizeSchema: z.ZodType<ExecResize> = z.strictObject({ id: execIdSchema, columns: extent, rows: extent })

export const execSpecSchema: z.ZodType<ExecSpec> = z.strictObject({
  id: execIdSchema,
  command: z.array(z.string()).min(1),
  env: env.exactOptional(),
  workdir: z.string().min(1).exactOptional(),
  user: z.string().min(1).exactOptional(),
  tty: terminalSizeSchema.exactOptional(),
  stdin: z.boolean(),
  from: z.strictObject({ stdout: count, stderr: count }),
})

export const execStateSchema: z.ZodType<ExecState> = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('running') }),
  z.strictObject({ state: z.literal('exited'), exit: workerExitSchema }),
  z.strictObject({ state: z.literal('unknown') }),
])

const freeOfTotal = z.strictObject({ free: amount, total: amount }).exactOptional()

export const headroomSchema: z.ZodType<Headroom> = z.strictObject({
  slots: freeOfTotal,
  cpu: freeOfTotal,
  memoryBytes: freeOfTotal,
  quotas: z.array(z.strictObject({ name: z.string().min(1), used: amount, limit: amount })).exactOptional(),
})

export const quoteShapeSchema: z.ZodType<QuoteShape> = z.strictObject({
  image: z.string().min(1).exactOptional(),
  resources: resourcesSchema.exactOptional(),
  arch: z.enum(['amd64', 'arm64']).exactOptional(),
})

export const quoteSchema: z.ZodType<Quote> = z.strictObject({
  pricePerHour: amount,
  currency: z.string().regex(/^[A-Z]{3}$/),
  billingSeconds: amount,
  expectedStartMs: amount,
  interruptionRisk: z.number().min(0).max(1),
})

/** More often would cost more than it tells; a day is for ever. */
export const statsQuerySchema: z.ZodType<StatsQuery> = z.strictObject({
  tags: providerTags,
  everyMs: z.int().min(500).max(86_400_000),
})

export const workerStatsSchema: z.ZodType<WorkerStats> = z.strictObject({
  id: workerIdSchema,
  at: instantSchema,
  cpuSeconds: amount,
  memoryBytes: amount,
  memoryPeakBytes: amount.exactOptional(),
  pids: amount.exactOptional(),
  network: z.strictObject({ receivedBytes: amount, sentBytes: amount }).exactOptional(),
  disk: z.strictObject({ readBytes: amount, writtenBytes: amount }).exactOptional(),
})

export const logOptionsSchema: z.ZodType<LogOptions> = z.strictObject({ cursor: z.string().exactOptional(), follow: z.boolean() })

/** Infinite for what cannot be written, as too deep a nesting. */
function jsonBytes(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value))
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
