/** Every call to a provider, as metrics, spans and log lines see it. */
import type { SpanBatch } from '@muster/core'
import type { CallWitness } from '../plugins/api.ts'
import type { Metrics } from './metrics/metrics.ts'
import { newTraceparent, traceIdOf, type Tracing } from './trace.ts'

/** As the wire allows in one message. */
const MOST_SPANS = 64

export interface WitnessParts {
  metrics: Metrics
  tracing: Tracing
  log: { debug(data: object, message: string): void }
}

export function callWitness({ metrics, tracing, log }: WitnessParts): CallWitness {
  return ({ provider, method, attempt, stream, traceparent }) => {
    const began = performance.now()
    // Looks of the host's own, as lists and probes, belong to nobody's trace and would drown the others.
    const span =
      traceparent === undefined || !tracing.on
        ? undefined
        : tracing.start(`provider ${method}`, {
            parent: traceparent,
            kind: 'client',
            facts: { 'muster.provider': provider, 'muster.method': method, 'muster.attempt': attempt },
          })
    const context = span?.traceparent ?? traceparent ?? newTraceparent()
    return {
      traceparent: context,
      ...(span?.traceparent.endsWith('-01') === true
        ? { spans: taken({ provider, of: span.traceparent, metrics, tracing }) }
        : {}),
      waited: (reason) => metrics.count('muster_provider_calls_waited_total', { provider, reason }),
      end: (code) => {
        const ms = performance.now() - began
        metrics.count('muster_provider_calls_total', { provider, method, code })
        if (!stream) metrics.record('muster_provider_call_seconds', ms / 1000, { provider, method })
        if (code !== 'ok')
          log.debug({ provider, method, code, attempt, ms: Math.round(ms), trace: traceIdOf(context) }, 'a provider call failed')
        span?.end(code === 'ok' ? {} : { failed: code })
      },
    }
  }
}

/** Takes what a plugin did for one call: of that call's trace only, and no more than a call may have, however often it sends. */
function taken({
  provider,
  of,
  metrics,
  tracing,
}: { provider: string; of: string } & Pick<WitnessParts, 'metrics' | 'tracing'>): (batch: SpanBatch) => void {
  let room = MOST_SPANS
  return ({ spans, dropped }) => {
    const mine = spans.filter(({ trace }) => trace === traceIdOf(of)).slice(0, room)
    room -= mine.length
    tracing.take(mine, { 'muster.provider': provider })
    const lost = dropped + spans.length - mine.length
    if (lost > 0) metrics.count('muster_plugin_spans_dropped_total', { provider }, lost)
  }
}
