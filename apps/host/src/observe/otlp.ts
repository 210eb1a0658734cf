/** Traces sent to a collector, OTLP over HTTP with JSON. Loaded only when one is configured. */
import { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { type PluginNetwork, proxyVariables, type SpanRecord, trusted } from '@muster/core'
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TracerProvider,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace'
import type { SecretSources } from '../plugins/secrets.ts'
import { secretReader } from '../plugins/secrets.ts'
import type { SpanEnd, SpanFacts, SpanStart, TraceSpan, Tracing } from './trace.ts'

export interface OtlpSettings {
  /** Base address of the collector. */
  url: string
  headers: Readonly<Record<string, string | { env: string } | { file: string }>>
  /** Share of the traces that begin here and are recorded; one that comes from a client is recorded when the client says so. */
  sample: number
}

export interface OtlpOptions extends OtlpSettings {
  version: string
  network?: PluginNetwork
  log: { info(data: object, message: string): void; warn(data: object, message: string): void }
  /** Between two batches; absent: a second. */
  everyMs?: number
  /** One batch, with its repeats; absent: five seconds. */
  sendMs?: number
}

/** Spans that wait for the collector. More are dropped: telemetry never grows into the host's memory, and never holds a call up. */
const MOST_WAITING = 4096
const BATCH = 512
const EVERY_MS = 1000
const SEND_MS = 5000
/** At a stop; a collector that is away must not keep the daemon. */
const FLUSH_MS = 2000
/** A tag or a code is short: what is longer is no fact of ours. */
const FACT_CHARS = 200

const kinds = { internal: SpanKind.INTERNAL, server: SpanKind.SERVER, client: SpanKind.CLIENT } as const

export function startOtlp(options: OtlpOptions): Tracing {
  const headers = headersOf(options)
  const exporter = telling(
    new OTLPTraceExporter({
      url: `${options.url.replace(/\/+$/, '')}/v1/traces`,
      headers,
      timeoutMillis: options.sendMs ?? SEND_MS,
      concurrencyLimit: 2,
      ...(options.network === undefined ? {} : { httpAgentOptions: agentBy(options.network) }),
    }),
    options.log,
  )
  const resource = resourceFromAttributes({ 'service.name': 'muster', 'service.version': options.version })
  const processor = new BatchSpanProcessor({
    exporter,
    maxQueueSize: MOST_WAITING,
    maxExportBatchSize: BATCH,
    scheduledDelayMillis: options.everyMs ?? EVERY_MS,
    exportTimeoutMillis: SEND_MS,
  })
  const provider = new TracerProvider({
    resource,
    sampler: new ParentBasedSampler({
      root: options.sample >= 1 ? new AlwaysOnSampler() : new TraceIdRatioBasedSampler(options.sample),
    }),
    spanLimits: { attributeValueLengthLimit: FACT_CHARS },
    spanProcessors: [processor],
  })
  const tracer = provider.getTracer('muster', options.version)

  function start(name: string, { parent, kind = 'internal', facts, at }: SpanStart = {}): TraceSpan {
    const span = tracer.startSpan(
      name,
      {
        kind: kinds[kind],
        ...(facts === undefined ? {} : { attributes: facts }),
        ...(at === undefined ? {} : { startTime: at }),
      },
      contextOf(parent),
    )
    const { traceId, spanId, traceFlags } = span.spanContext()
    return {
      traceparent: `00-${traceId}-${spanId}-0${traceFlags & 1}`,
      end: (how: SpanEnd = {}) => {
        if (how.facts !== undefined) span.setAttributes(how.facts)
        // The code only: a message may hold what a vendor or a user wrote.
        if (how.failed !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: how.failed })
        span.end(how.at)
      },
    }
  }

  return {
    on: true,
    start,
    take: (spans, facts) => {
      for (const one of spans) processor.onEnd(ended(one, { facts, resource, version: options.version }))
    },
    stop: async () => {
      const over = Promise.withResolvers<void>()
      const timer = setTimeout(over.resolve, FLUSH_MS)
      await Promise.race([provider.shutdown().catch(() => undefined), over.promise])
      clearTimeout(timer)
    },
  }
}

/** A span of a plugin as the exporter takes it. Its trace is recorded: else nobody would have asked for it. */
function ended(
  { trace, span, parent, name, kind, at, ms, failed, facts = {} }: SpanRecord,
  { facts: more, resource, version }: { facts: SpanFacts; resource: Resource; version: string },
): ReadableSpan {
  const context = { traceId: trace, spanId: span, traceFlags: TraceFlags.SAMPLED }
  const cut = Object.entries({ ...facts, ...more }).map(([key, value]) => [
    key,
    typeof value === 'string' ? value.slice(0, FACT_CHARS) : value,
  ])
  return {
    name,
    kind: kinds[kind],
    spanContext: () => context,
    parentSpanContext: { traceId: trace, spanId: parent, traceFlags: TraceFlags.SAMPLED },
    startTime: hrTime(at),
    endTime: hrTime(at + ms),
    duration: hrTime(ms),
    status: failed === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: failed },
    attributes: Object.fromEntries(cut) as Record<string, string | number>,
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: { name: 'muster-plugin', version },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  }
}

/** Seconds and nanoseconds. */
function hrTime(ms: number): [number, number] {
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)]
}

function agentBy(network: PluginNetwork): (protocol: string) => Agent {
  const ca = trusted(network)
  const how = { keepAlive: true, proxyEnv: proxyVariables(network) }
  return (protocol) => (protocol === 'https:' ? new TlsAgent({ ...how, ...(ca === undefined ? {} : { ca }) }) : new Agent(how))
}

function contextOf(traceparent: string | undefined): Context {
  const [, traceId = '', spanId = '', flags = ''] = traceparent?.split('-') ?? []
  if (traceparent === undefined) return ROOT_CONTEXT
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true })
}

/** Read anew for each batch, so that a rotated secret needs no restart. One that cannot be read is left out, and the collector refuses. */
function headersOf({ headers, log }: OtlpOptions): () => Promise<Record<string, string>> {
  const plain = Object.entries(headers).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
  const sources = Object.fromEntries(Object.entries(headers).filter(([, value]) => typeof value !== 'string')) as SecretSources
  const read = secretReader(sources)
  let missing = ''
  return async () => {
    const found: [string, string][] = [...plain]
    const failed: string[] = []
    for (const name of Object.keys(sources))
      await read(name).then(
        ({ value }) => found.push([name, value]),
        () => failed.push(name),
      )
    if (failed.join() !== missing && failed.length > 0)
      log.warn({ headers: failed }, 'headers for the trace collector cannot be read: see host.telemetry.otlp.headers')
    missing = failed.join()
    return Object.fromEntries(found)
  }
}

/** An exporter that says once that it fails, and once that it works again. */
function telling(inner: SpanExporter, log: OtlpOptions['log']): SpanExporter {
  let failing = false
  const note = (error: Error | undefined): void => {
    const failed = error !== undefined
    if (failed && !failing)
      log.warn({ reason: briefly(error) }, 'traces cannot be sent to the collector; those that find no room are dropped')
    if (!failed && failing) log.info({}, 'traces reach the collector again')
    failing = failed
  }
  return {
    export: (spans, done) => {
      try {
        inner.export(spans, (result) => {
          note(result.error)
          done(result)
        })
      } catch (error) {
        // What cannot be encoded: the processor drops the batch in silence.
        note(error instanceof Error ? error : new Error(String(error)))
        throw error
      }
    },
    shutdown: () => inner.shutdown(),
    ...(inner.forceFlush === undefined ? {} : { forceFlush: () => inner.forceFlush?.() ?? Promise.resolve() }),
  }
}

/** What the exporter says of its own, which has no code. */
const own: Readonly<Record<string, string>> = {
  'Request timed out': 'it does not answer in time',
  'Export failed with retryable status': 'it asks for another try later, and again',
  'Concurrent export limit reached': 'batches before are still on their way',
  'Export failed with unknown error': 'the exporter gives no reason',
}
/** With the number of bytes. */
const TOO_LONG = /^OTLP export response body exceeded size limit/

/** What the collector answers may echo what was sent to it. */
function briefly(error: Error | undefined): string {
  const { code } = (error ?? {}) as { code?: unknown }
  if (typeof code === 'string' || typeof code === 'number') return String(code)
  const message = error?.message ?? ''
  if (TOO_LONG.test(message)) return 'its answer is longer than is read'
  // `Error` says nothing.
  return own[message] ?? (error === undefined || error.name === 'Error' ? 'the exporter gives no reason' : error.name)
}
