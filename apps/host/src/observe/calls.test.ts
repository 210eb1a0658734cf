import type { SpanRecord } from '@muster/core'
import { expect, test } from 'vitest'
import { callWitness } from './calls.ts'
import { createMetrics } from './metrics/metrics.ts'
import { readExposition, sampleOf } from './testing/exposition.ts'
import type { SpanFacts, Tracing } from './trace.ts'

const trace = '1'.repeat(32)
const context = (flags: string): string => `00-${trace}-${'2'.repeat(16)}-${flags}`

function open(
  flags = '01',
  on = true,
): {
  taken: { spans: readonly SpanRecord[]; facts: SpanFacts }[]
  metrics: ReturnType<typeof createMetrics>
  spans: ReturnType<ReturnType<typeof callWitness>>['spans']
} {
  const taken: { spans: readonly SpanRecord[]; facts: SpanFacts }[] = []
  const tracing: Tracing = {
    on,
    start: () => ({ traceparent: context(flags), end: () => undefined }),
    take: (spans, facts) => void taken.push({ spans, facts }),
    stop: async () => undefined,
  }
  const metrics = createMetrics()
  const witness = callWitness({ metrics, tracing, log: { debug: () => undefined } })
  const call = { provider: 'p', method: 'launch', attempt: 1, stream: false, traceparent: context('01') }
  return { taken, metrics, spans: witness(call).spans }
}

const span = (n: number, of = trace): SpanRecord => ({
  trace: of,
  span: n.toString(16).padStart(16, '0'),
  parent: '2'.repeat(16),
  name: 'ask',
  kind: 'client',
  at: 1,
  ms: 1,
})

test('spans of the call’s own trace are taken, as many as a call may have; the others are counted', async () => {
  const { taken, metrics, spans } = open()
  spans?.({ spans: [span(1), span(2, '9'.repeat(32))], dropped: 3 })
  spans?.({ spans: Array.from({ length: 64 }, (_, n) => span(n)), dropped: 0 })
  expect(taken.map((one) => one.spans.length)).toEqual([1, 63])
  expect(taken[0]?.facts).toEqual({ 'muster.provider': 'p' })
  await metrics.load()
  expect(sampleOf(readExposition(await metrics.scrape()), 'muster_plugin_spans_dropped_total', { provider: 'p' })).toBe(5)
})

test('where the trace is not recorded the plugin is not asked', () => {
  expect(open('00').spans).toBeUndefined()
  expect(open('01', false).spans).toBeUndefined()
})
