/**
 * Traces as the rooms of the host see them. What travels and what is stored is a `traceparent`
 * (https://www.w3.org/TR/trace-context/#traceparent-header); spans are recorded only where an exporter is configured.
 */
import { randomBytes } from 'node:crypto'
import type { SpanRecord } from '@muster/core'

/** Names and numbers only: never a value that a user or a vendor wrote. */
export type SpanFacts = Readonly<Record<string, string | number>>

export interface SpanStart {
  /** Absent: a trace of its own. */
  parent?: string | undefined
  /** server: somebody asks us · client: we ask somebody · internal: neither. Default internal. */
  kind?: 'internal' | 'server' | 'client'
  facts?: SpanFacts
  /** Milliseconds since 1970; absent: now. */
  at?: number
}

export interface SpanEnd {
  /** Code of the failure; absent: it went well. */
  failed?: string | undefined
  facts?: SpanFacts
  at?: number
}

export interface TraceSpan {
  /** For what is done on behalf of this span. */
  readonly traceparent: string
  end(how?: SpanEnd): void
}

export interface Tracing {
  /** Are spans recorded? Where they are not, contexts are passed on all the same. */
  readonly on: boolean
  start(name: string, given?: SpanStart): TraceSpan
  /** Spans that somebody else has ended. */
  take(spans: readonly SpanRecord[], facts: SpanFacts): void
  /** Sends what is left, for a bounded time. */
  stop(): Promise<void>
}

/** Passes contexts on, records nothing. */
export const untraced: Tracing = {
  on: false,
  start: (_name, { parent } = {}) => ({ traceparent: parent ?? newTraceparent(), end: () => undefined }),
  take: () => undefined,
  stop: async () => undefined,
}

/** A trace of its own, not sampled. */
export function newTraceparent(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`
}

const SHAPE = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** A header as version 00, the one that travels on; undefined when it is none. A later version's further parts are left out, as its rules say. */
export function readTraceparent(header: unknown): string | undefined {
  const [, version, trace, span, flags, more] = (typeof header === 'string' ? SHAPE.exec(header) : null) ?? []
  if (flags === undefined || (version === '00' && more !== undefined)) return undefined
  return `00-${trace}-${span}-0${Number.parseInt(flags, 16) & 1}`
}

/** The trace of a context, for log lines. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent?.slice(3, 35)
}

/** The context that a stored request (of a lease or a run) carries. */
export function traceOfRequest(request: string | undefined): string | undefined {
  // Requests of one host are many and may be long: looked for before it is parsed.
  if (request === undefined || !request.includes('"traceparent"')) return undefined
  return readTraceparent((JSON.parse(request) as { traceparent?: unknown }).traceparent)
}
