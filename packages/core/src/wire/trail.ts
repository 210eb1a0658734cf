/** What a plugin did for one call, as spans of the host's trace: kept until the call is answered, sent to the host, exported there. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import * as z from 'zod'
import { isProviderError } from '../errors.ts'
import { maxCallSpans } from './limits.ts'

/** Names, ids and codes: never a value that a user or a vendor wrote. */
export type SpanFacts = Readonly<Record<string, string | number>>

/** One span as it crosses the wire. Ids as in W3C trace context. */
export interface SpanRecord {
  trace: string
  span: string
  parent: string
  name: string
  /** server: the call itself · client: the plugin asked its vendor. */
  kind: 'server' | 'client'
  /** Milliseconds since 1970. */
  at: number
  ms: number
  /** Code of the failure; absent: it went well. */
  failed?: string
  facts?: Record<string, string | number>
}

export interface SpanBatch {
  spans: SpanRecord[]
  /** Those that found no room, or had not ended. */
  dropped: number
}

const maxName = 100
const maxFact = 200
const maxFacts = 8
/** Exporters count nanoseconds in 64 bits: begin and end fit, to the year 2255. */
const maxMs = 9e12
/** More is said as so many. */
export const maxDropped = 1_000_000

export const spanRecordSchema: z.ZodType<SpanRecord> = z.strictObject({
  trace: z.string().regex(/^[0-9a-f]{32}$/),
  span: z.string().regex(/^[0-9a-f]{16}$/),
  parent: z.string().regex(/^[0-9a-f]{16}$/),
  name: z.string().min(1).max(maxName),
  kind: z.enum(['server', 'client']),
  at: z.number().min(0).max(maxMs),
  ms: z.number().min(0).max(maxMs),
  failed: z.string().max(maxName).exactOptional(),
  facts: z
    .record(z.string().max(maxName), z.union([z.string().max(maxFact), z.number().refine(isTold, 'an integer that is safe')]))
    .refine((facts) => Object.keys(facts).length <= maxFacts, `at most ${maxFacts} facts`)
    .exactOptional(),
})

export interface Trail {
  /** Of the call's own span: what author code sees. */
  readonly traceparent: string
  begin(name: string, facts?: SpanFacts): OpenSpan
  /** Ends the call's own span; what it has begun and not ended is dropped. */
  finish(failed?: string): SpanBatch
}

export interface OpenSpan {
  readonly traceparent: string
  end(how?: { failed?: string; facts?: SpanFacts }): void
}

/** `clean` takes secrets out of all text. */
export function openTrail(
  traceparent: string,
  method: string,
  { clean, now }: { clean(text: string): string; now(): number },
): Trail {
  const [, trace = '', caller = '', flags = ''] = traceparent.split('-')
  const spans: SpanRecord[] = []
  let begun = 0
  let dropped = 0

  function open(record: Pick<SpanRecord, 'parent' | 'name' | 'kind'>, facts: SpanFacts = {}): OpenSpan {
    const span = randomBytes(8).toString('hex')
    const at = now()
    const from = performance.now()
    return {
      traceparent: `00-${trace}-${span}-${flags}`,
      end: ({ failed, facts: more } = {}) => {
        // Of the calls to a vendor; the call's own span always has its place.
        if (record.kind === 'client' && spans.length >= maxCallSpans - 1) {
          dropped += 1
          return
        }
        const all = factsOf({ ...facts, ...more }, clean)
        spans.push({
          trace,
          span,
          ...record,
          name: clean(record.name).slice(0, maxName) || 'vendor',
          at,
          ms: Math.max(0, performance.now() - from),
          ...(failed === undefined ? {} : { failed: clean(failed).slice(0, maxName) }),
          ...(all === undefined ? {} : { facts: all }),
        })
      },
    }
  }

  const own = open({ parent: caller, name: `plugin ${method}`, kind: 'server' })
  const [, , mine = ''] = own.traceparent.split('-')
  let finished = false
  return {
    traceparent: own.traceparent,
    begin: (name, facts) => {
      const one = open({ parent: mine, name, kind: 'client' }, facts)
      begun += 1
      return {
        traceparent: one.traceparent,
        end: (how) => {
          if (finished) return
          begun -= 1
          one.end(how)
        },
      }
    },
    finish: (failed) => {
      finished = true
      own.end(failed === undefined ? {} : { failed })
      return { spans, dropped: Math.min(dropped + begun, maxDropped) }
    },
  }
}

/** What can be told of a number: exporters take an integer for one of 64 bits, and NaN is no JSON. */
function isTold(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
}

function factsOf(facts: SpanFacts, clean: (text: string) => string): Record<string, string | number> | undefined {
  const told = Object.entries(facts).filter(([, value]) => typeof value === 'string' || isTold(value))
  const all = told.slice(0, maxFacts)
  if (all.length === 0) return undefined
  return Object.fromEntries(
    all.map(([name, value]) => [name.slice(0, maxName), typeof value === 'string' ? clean(value).slice(0, maxFact) : value]),
  )
}

const trails = new AsyncLocalStorage<Trail>()

/** Runs `work` so that {@link vendorSpan} inside it belongs to this call. */
export function inTrail<T>(trail: Trail | undefined, work: () => T): T {
  return trail === undefined ? work() : trails.run(trail, work)
}

export interface VendorSpan {
  /** For a vendor that goes on in the trace; undefined where nobody records. */
  readonly traceparent: string | undefined
  fact(name: string, value: string | number): void
}

/**
 * A call to the vendor as a span of the trace that the host's call belongs to. Outside of a call, or where nobody records, only `work` is
 * done. Names and facts are words of the plugin, ids and codes: what a user or the vendor wrote does not belong there.
 */
export async function vendorSpan<T>(name: string, work: (span: VendorSpan) => Promise<T>): Promise<T> {
  const open = trails.getStore()?.begin(name)
  const facts: Record<string, string | number> = {}
  try {
    const value = await work({
      traceparent: open?.traceparent,
      fact: (key, one) => {
        facts[key] = one
      },
    })
    open?.end({ facts })
    return value
  } catch (error) {
    open?.end({ facts, failed: codeOf(error) })
    throw error
  }
}

function codeOf(error: unknown): string {
  if (isProviderError(error)) return error.code
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  const found = [code, name].find((one) => typeof one === 'string' && /^[\w.-]{1,60}$/.test(one))
  return typeof found === 'string' ? found : 'error'
}
