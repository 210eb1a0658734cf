/** The wire's methods of a worker provider: what each takes and gives, how it is queued, which streams it has. */
import * as z from 'zod'
import type {
  ExecResize,
  ExecSpec,
  ExecState,
  Handle,
  Headroom,
  LaunchedWorker,
  ListQuery,
  LogOptions,
  PoolRef,
  PoolRequest,
  Probe,
  Quote,
  QuoteShape,
  StatsQuery,
  SuspendHow,
  TerminateHow,
  Terminated,
  WorkerExit,
  WorkerMark,
  WorkerMethod,
  WorkerObservation,
  WorkerPage,
  WorkerTarget,
} from '../provider.ts'
import { type LaunchSpec, launchSpecSchema } from '../spec.ts'
import { maxInlineBytes, maxInspectTargets, maxPageBytes } from './limits.ts'
import { type CallParams, callParamsSchema, type MethodSpec, type Nothing, nothingSchema, streamParam } from './messages.ts'
import {
  execIdSchema,
  execResizeSchema,
  execSpecSchema,
  execStateSchema,
  handleSchema,
  headroomSchema,
  launchedWorkerSchema,
  listQuerySchema,
  logOptionsSchema,
  poolRefSchema,
  poolRequestSchema,
  probeSchema,
  quoteSchema,
  quoteShapeSchema,
  statsQuerySchema,
  terminatedSchema,
  suspendHowSchema,
  terminateHowSchema,
  workerExitSchema,
  workerMarkSchema,
  workerObservationSchema,
  workerPageSchema,
  workerTargetSchema,
} from './worker-schemas.ts'

/** A spec that fits into a frame. */
export const inlineLaunchSpecSchema: z.ZodType<LaunchSpec> = launchSpecSchema.refine(
  (spec) => inlineBytes(spec) <= maxInlineBytes,
  {
    path: ['files'],
    message: `files and env together are larger than ${maxInlineBytes} bytes; use inputs`,
  },
)

const call = callParamsSchema
const port = z.int().min(1).max(65_535)

interface OnTarget {
  call: CallParams
  target: WorkerTarget
}
type ExecKill = { id: string; signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT' }

/** Params and result of each method. The params of a streaming method name its streams, chosen by the host. */
export interface WorkerWire {
  probe: { params: { call: CallParams }; result: Probe }
  preparePool: { params: { call: CallParams; pool: PoolRequest }; result: { handle: Handle; digest: string } }
  unpreparePool: { params: { call: CallParams; target: { pool: PoolRef; handle: Handle } }; result: Nothing }
  launch: { params: { call: CallParams; spec: LaunchSpec }; result: LaunchedWorker }
  terminate: { params: OnTarget & { how: TerminateHow }; result: Terminated }
  list: { params: { call: CallParams; query: ListQuery }; result: WorkerPage }
  inspect: { params: { call: CallParams; targets: WorkerTarget[] }; result: WorkerObservation[] }
  watch: { params: { call: CallParams; query: ListQuery; out: number }; result: Nothing }
  logs: { params: OnTarget & { options: LogOptions; out: number }; result: Nothing }
  exec: { params: OnTarget & { command: ExecSpec; out: number; in?: number }; result: WorkerExit }
  execState: { params: OnTarget & { id: string }; result: ExecState }
  execKill: { params: OnTarget & { kill: ExecKill }; result: Nothing }
  execResize: { params: OnTarget & { resize: ExecResize }; result: Nothing }
  copyIn: { params: OnTarget & { path: string; in: number }; result: Nothing }
  copyOut: { params: OnTarget & { path: string; out: number }; result: Nothing }
  forward: { params: OnTarget & { port: number; in: number; out: number }; result: Nothing }
  suspend: { params: OnTarget & { how: SuspendHow }; result: Nothing }
  resume: { params: OnTarget; result: Nothing }
  mark: { params: OnTarget & { mark: WorkerMark }; result: Nothing }
  stats: { params: { call: CallParams; query: StatsQuery; out: number }; result: Nothing }
  headroom: { params: { call: CallParams }; result: Headroom }
  quote: { params: { call: CallParams; shape: QuoteShape }; result: Quote }
}

const other = { lane: 'other' } as const
const nothing = { result: nothingSchema, nothing: true } as const
const target = workerTargetSchema
const path = z.string().min(1)
const onTarget = z.strictObject({ call, target })

export const workerMethods: { readonly [M in WorkerMethod]: MethodSpec<WorkerWire[M]['params'], WorkerWire[M]['result']> } = {
  probe: { ...other, args: [], params: z.strictObject({ call }), result: probeSchema },
  preparePool: {
    ...other,
    args: ['pool'],
    params: z.strictObject({ call, pool: poolRequestSchema }),
    result: z.strictObject({ handle: handleSchema, digest: z.string().min(1) }),
  },
  unpreparePool: {
    ...other,
    ...nothing,
    args: ['target'],
    params: z.strictObject({ call, target: z.strictObject({ pool: poolRefSchema, handle: handleSchema }) }),
  },
  launch: {
    lane: 'launch',
    args: ['spec'],
    params: z.strictObject({
      call,
      spec: inlineLaunchSpecSchema,
    }),
    result: launchedWorkerSchema,
  },
  terminate: {
    lane: 'terminate',
    args: ['target', 'how'],
    params: z.strictObject({ call, target, how: terminateHowSchema }),
    result: terminatedSchema,
  },
  list: {
    ...other,
    args: ['query'],
    params: z.strictObject({ call, query: listQuerySchema }),
    result: workerPageSchema,
    maxBytes: maxPageBytes,
    check: ({ query }, page) =>
      page.workers.length > query.limit ? `workers: ${page.workers.length} workers where the limit is ${query.limit}` : undefined,
  },
  inspect: {
    ...other,
    args: ['targets'],
    params: z.strictObject({ call, targets: z.array(target).min(1).max(maxInspectTargets) }),
    result: z.array(workerObservationSchema).max(maxInspectTargets),
    check: ({ targets }, found) => strangers(targets, found),
  },
  watch: {
    ...other,
    ...nothing,
    args: ['query'],
    params: z.strictObject({ call, query: listQuerySchema, out: streamParam }),
    out: 'watch',
  },
  logs: {
    ...other,
    ...nothing,
    args: ['target', 'options'],
    params: z.strictObject({ call, target, options: logOptionsSchema, out: streamParam }),
    out: 'logs',
  },
  exec: {
    ...other,
    args: ['target', 'command'],
    params: z.strictObject({ call, target, command: execSpecSchema, out: streamParam, in: streamParam.exactOptional() }),
    result: workerExitSchema,
    out: 'exec',
    in: 'optional',
  },
  execState: {
    ...other,
    args: ['target', 'id'],
    params: z.strictObject({ call, target, id: execIdSchema }),
    result: execStateSchema,
  },
  execKill: {
    ...other,
    ...nothing,
    args: ['target', 'kill'],
    params: z.strictObject({
      call,
      target,
      kill: z.strictObject({ id: execIdSchema, signal: z.enum(['SIGTERM', 'SIGKILL', 'SIGINT']) }),
    }),
  },
  execResize: {
    ...other,
    ...nothing,
    args: ['target', 'resize'],
    params: z.strictObject({ call, target, resize: execResizeSchema }),
  },
  copyIn: {
    ...other,
    ...nothing,
    args: ['target', 'path'],
    params: z.strictObject({ call, target, path, in: streamParam }),
    in: 'always',
  },
  copyOut: {
    ...other,
    ...nothing,
    args: ['target', 'path'],
    params: z.strictObject({ call, target, path, out: streamParam }),
    out: 'bytes',
  },
  forward: {
    ...other,
    ...nothing,
    args: ['target', 'port'],
    params: z.strictObject({ call, target, port, in: streamParam, out: streamParam }),
    in: 'always',
    out: 'bytes',
  },
  suspend: { ...other, ...nothing, args: ['target', 'how'], params: z.strictObject({ call, target, how: suspendHowSchema }) },
  resume: { ...other, ...nothing, args: ['target'], params: onTarget },
  mark: { ...other, ...nothing, args: ['target', 'mark'], params: z.strictObject({ call, target, mark: workerMarkSchema }) },
  stats: {
    ...other,
    ...nothing,
    args: ['query'],
    params: z.strictObject({ call, query: statsQuerySchema, out: streamParam }),
    out: 'stats',
  },
  headroom: { ...other, args: [], params: z.strictObject({ call }), result: headroomSchema },
  quote: { ...other, args: ['shape'], params: z.strictObject({ call, shape: quoteShapeSchema }), result: quoteSchema },
}

/** An answer of `inspect` holds only asked workers, each once. */
function strangers(targets: readonly WorkerTarget[], found: readonly WorkerObservation[]): string | undefined {
  const asked = new Set(targets.map((one) => one.id))
  const index = found.findIndex((one) => !asked.delete(one.id))
  return index < 0 ? undefined : `[${index}].id: a worker that was not asked for, or twice`
}

/** Bytes of inline `files` (decoded) and `env`, of the worker and of its services. */
function inlineBytes(spec: LaunchSpec): number {
  const envs = [spec.env, ...(spec.services ?? []).map((service) => service.env)]
  const ofEnv = envs
    .flatMap((one) => Object.entries(one ?? {}))
    .reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0)
  const ofFiles = (spec.files ?? []).reduce(
    (sum, file) => sum + Buffer.byteLength(file.path) + Buffer.byteLength(file.base64, 'base64'),
    0,
  )
  return ofEnv + ofFiles
}
