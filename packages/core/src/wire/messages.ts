/** The messages around the methods: JSON-RPC envelopes, notifications, the three calls of a plugin's life, and `secret`. */
import * as z from 'zod'
import { type PluginManifest, pluginManifestSchema, type PluginNetwork, pluginNetworkSchema } from '../plugin.ts'
import type { SecretValue } from '../provider.ts'
import { type WireErrorData, wireErrorDataSchema, wireErrorSchema, type WireError } from './error-data.ts'
import { grantBytes, maxCallSpans, maxTimerMs, streamWindowBytes } from './limits.ts'
import { maxDropped, type SpanBatch, spanRecordSchema } from './trail.ts'
import type { Lane } from './writer.ts'

/** Rising from 1, chosen by the side that asks. */
const requestId = z.int().min(1)
const streamIdSchema: z.ZodType<number> = z.int().min(1).max(0xff_ff_ff_ff)

/** One call's surroundings as they cross the wire. */
export interface CallParams {
  /** Milliseconds that are left. */
  deadlineMs: number
  idempotencyKey: string
  epoch: number
  attempt: number
  traceparent: string
  tracestate?: string
  /** The host records the trace: what the plugin did for the call comes with `$/spans`. */
  spans?: true
}

export const callParamsSchema: z.ZodType<CallParams> = z.strictObject({
  deadlineMs: z.int().min(1).max(maxTimerMs),
  idempotencyKey: z.string().min(1).max(200),
  epoch: z.int().min(0),
  attempt: z.int().min(1),
  traceparent: z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/),
  tracestate: z.string().max(512).exactOptional(),
  spans: z.literal(true).exactOptional(),
})

/** How streams of a method carry data: raw bytes, or one item a frame. */
export type StreamKind = 'bytes' | 'watch' | 'stats' | 'logs' | 'exec'

/** One method: how it is queued, what it takes and gives, which streams it has. */
export interface MethodSpec<Params = unknown, Result = unknown> {
  lane: Lane
  /** Names in `params` of the method's arguments, in the contract's order; beside them stand `call` and streams. */
  args: readonly string[]
  params: z.ZodType<Params>
  /** What a method without a value answers is `{}`. */
  result: z.ZodType<Result>
  /** The method gives no value. */
  nothing?: true
  out?: StreamKind
  /** Bytes from host to plugin: always there, or only when `in` is named. */
  in?: 'always' | 'optional'
  /** Most bytes of the answer. */
  maxBytes?: number
  /** What the schema cannot see: the answer against the question. Gives the fault in words. */
  check?(params: Params, result: Result): string | undefined
}

export const streamParam: z.ZodType<number> = streamIdSchema
export type Nothing = Record<string, never>
export const nothingSchema: z.ZodType<Nothing> = z.strictObject({})

export interface RequestMessage {
  jsonrpc: '2.0'
  id: number
  method: string
  params: unknown
}
export interface NotificationMessage {
  jsonrpc: '2.0'
  method: string
  params: unknown
}
export interface ResultMessage {
  jsonrpc: '2.0'
  id: number
  result: unknown
}
export interface ErrorMessage {
  jsonrpc: '2.0'
  id: number
  error: WireError
}

const version = z.literal('2.0')
const method = z.string().min(1).max(100)

export const requestMessageSchema: z.ZodType<RequestMessage> = z.strictObject({
  jsonrpc: version,
  id: requestId,
  method,
  params: z.unknown(),
})
export const notificationMessageSchema: z.ZodType<NotificationMessage> = z.strictObject({
  jsonrpc: version,
  method,
  params: z.unknown(),
})
export const resultMessageSchema: z.ZodType<ResultMessage> = z.strictObject({
  jsonrpc: version,
  id: requestId,
  result: z.unknown(),
})
export const errorMessageSchema: z.ZodType<ErrorMessage> = z.strictObject({
  jsonrpc: version,
  id: requestId,
  error: wireErrorSchema,
})

export interface Notifications {
  /** Host to plugin: nobody waits any more; the answer comes all the same. */
  '$/cancel': { id: number }
  /** Plugin to host: a streaming call was accepted. */
  '$/started': { id: number }
  /** Plugin to host, before the answer of a call that asked for it: what was done for it. */
  '$/spans': { call: number } & SpanBatch
  /** Reader to writer, at least {@link grantBytes}; credit never exceeds the window. */
  '$/credit': { stream: number; bytes: number }
  /** Writer to reader, once, before the call's answer: the stream ends when the reader has got `bytes`, the total. Data that it covers has its credit already and may come later. */
  '$/end': { stream: number; bytes: number; error?: { message: string; data: WireErrorData } }
  /** Reader to writer: send no more; `$/end` comes all the same. */
  '$/cancelStream': { stream: number }
}
export type NotificationName = keyof Notifications

export const notificationSchemas: { readonly [N in NotificationName]: z.ZodType<Notifications[N]> } = {
  '$/cancel': z.strictObject({ id: requestId }),
  '$/started': z.strictObject({ id: requestId }),
  '$/spans': z.strictObject({
    call: requestId,
    spans: z.array(spanRecordSchema).max(maxCallSpans),
    dropped: z.int().min(0).max(maxDropped),
  }),
  '$/credit': z.strictObject({
    stream: streamIdSchema,
    bytes: z.int().min(grantBytes).max(streamWindowBytes),
  }),
  '$/end': z.strictObject({
    stream: streamIdSchema,
    bytes: z.int().min(0),
    error: z.strictObject({ message: z.string(), data: wireErrorDataSchema }).exactOptional(),
  }),
  '$/cancelStream': z.strictObject({ stream: streamIdSchema }),
}

/** What the host tells a plugin once. */
export interface ConfigureParams {
  /** `MAJOR.MINOR` that both sides will speak. */
  contract: string
  config: unknown
  context: { provider: string; owner: string; dataDir: string; network?: PluginNetwork }
}

export interface SecretParams {
  /** Id of the open call that needs it. */
  call: number
  name: string
  /** `version` of the value that the vendor refused. */
  refused?: string
}

export interface LifeWire {
  describe: { params: Nothing; result: PluginManifest }
  configure: { params: ConfigureParams; result: Nothing }
  retire: { params: Nothing; result: Nothing }
}

/** Calls of a plugin's life; they have no `call`. `retire` is answered when all open calls are. */
export const lifeMethods: { readonly [M in keyof LifeWire]: MethodSpec<LifeWire[M]['params'], LifeWire[M]['result']> } = {
  describe: { lane: 'other', args: [], params: nothingSchema, result: pluginManifestSchema },
  configure: {
    lane: 'other',
    args: ['contract', 'config', 'context'],
    params: z.strictObject({
      contract: z.string().regex(/^\d+\.\d+$/),
      config: z.unknown(),
      context: z.strictObject({
        provider: z.string().min(1),
        owner: z.string().min(1),
        dataDir: z.string().min(1),
        network: pluginNetworkSchema.exactOptional(),
      }),
    }),
    result: nothingSchema,
    nothing: true,
  },
  retire: { lane: 'other', args: [], params: nothingSchema, result: nothingSchema, nothing: true },
}

/** The one request from plugin to host. */
export const secretMethod: MethodSpec<SecretParams, SecretValue> = {
  lane: 'other',
  args: ['call', 'name', 'refused'],
  params: z.strictObject({ call: requestId, name: z.string().min(1).max(200), refused: z.string().exactOptional() }),
  result: z.strictObject({ value: z.string(), version: z.string() }),
}

/** What is wrong with a value, as `workers[3].phase: Invalid option …`; at most three faults. */
export function describeIssues(error: z.ZodError): { path: string; message: string } {
  const faults = error.issues.slice(0, 3).map((issue) => ({ path: pathOf(issue.path), message: issue.message }))
  const text = faults.map((fault) => (fault.path === '' ? fault.message : `${fault.path}: ${fault.message}`))
  return { path: faults[0]?.path ?? '', message: text.join('; ') }
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? String(part) : `${text}.${String(part)}`
  }, '')
}
