import { expect, test } from 'vitest'
import { ProviderError } from '../errors.ts'
import type { Call, WorkerProvider } from '../provider.ts'
import { maxCallSpans } from './limits.ts'
import { collect, connect, failure, id, link, observation, options, query, spec } from './link.test.helper.ts'
import { inTrail, openTrail, type SpanBatch, spanRecordSchema, vendorSpan } from './trail.ts'

const trace = 'a'.repeat(32)
const caller = 'b'.repeat(16)
const handle = { v: 1, data: null }

/** What the host is told of one call; absent: nothing. */
async function told(
  provider: Partial<WorkerProvider>,
  ask: (host: Awaited<ReturnType<typeof link>>['host'], spans: (batch: SpanBatch) => void) => Promise<unknown>,
): Promise<SpanBatch[]> {
  const batches: SpanBatch[] = []
  const { host } = await link(provider)
  await ask(host, (batch) => batches.push(batch)).catch(() => undefined)
  host.close('done')
  return batches
}

test('a call and what it asks the vendor for are spans of the host’s trace, before its answer', async () => {
  const given: Call[] = []
  const [batch] = await told(
    {
      launch: async (_spec, call) => {
        given.push(call)
        await vendorSpan('vendor ask', async (span) => span.fact('status', 200))
        await vendorSpan('vendor fail', () => Promise.reject(new ProviderError('capacity', 'canary'))).catch(() => undefined)
        await vendorSpan('vendor break', () => Promise.reject(Object.assign(new Error('canary'), { code: 'ECONNRESET' }))).catch(
          () => undefined,
        )
        return { handle }
      },
    },
    (host, spans) => host.worker.launch(spec, options({ spans })),
  )
  const [ask, fail, broken, own] = batch?.spans ?? []
  expect(batch).toMatchObject({ dropped: 0 })
  expect(own).toMatchObject({ trace, parent: caller, name: 'plugin launch', kind: 'server' })
  expect(given[0]?.trace.traceparent).toBe(`00-${trace}-${own?.span ?? ''}-01`)
  expect(ask).toMatchObject({ trace, parent: own?.span, name: 'vendor ask', kind: 'client', facts: { status: 200 } })
  expect(ask).not.toHaveProperty('failed')
  expect([fail?.failed, broken?.failed]).toEqual(['capacity', 'ECONNRESET'])
  expect(JSON.stringify(batch)).not.toContain('canary')
})

test('a call that fails says its code; a stream is told at its end, with what its reader made it ask for', async () => {
  const [failed] = await told({ launch: () => Promise.reject(new ProviderError('quota', 'full')) }, (host, spans) =>
    host.worker.launch(spec, options({ spans })),
  )
  expect(failed?.spans).toMatchObject([{ name: 'plugin launch', failed: 'quota' }])
  const [watched] = await told(
    {
      async *watch() {
        for (let n = 0; n < 2; n++) yield await vendorSpan(`ask ${n}`, async () => observation)
      },
    },
    (host, spans) => collect(host.worker.watch(query, options({ spans }))),
  )
  expect(watched?.spans.map(({ name }) => name)).toEqual(['ask 0', 'ask 1', 'plugin watch'])
})

test('of two calls at once each has its own', async () => {
  const gate = Promise.withResolvers<void>()
  const seen: SpanBatch[] = []
  const { host } = await link({
    launch: async () => {
      await vendorSpan('create', () => gate.promise)
      return { handle }
    },
    terminate: async () => {
      await vendorSpan('delete', async () => gate.resolve())
      return { state: 'gone' }
    },
  })
  await Promise.all([
    host.worker.launch(spec, options({ spans: (batch) => void (seen[0] = batch) })),
    host.worker.terminate(
      { id },
      { graceMs: 1, force: false, reason: 'x' },
      options({ spans: (batch) => void (seen[1] = batch) }),
    ),
  ])
  host.close('done')
  expect(seen.map(({ spans }) => spans.map(({ name }) => name))).toEqual([
    ['create', 'plugin launch'],
    ['delete', 'plugin terminate'],
  ])
})

test('a failure without a code has its name, if that is a word; a span takes its time', async () => {
  const fail = async (error: unknown): Promise<void> => {
    const asked = vendorSpan('ask', async () => {
      throw error as Error
    })
    await expect(asked).rejects.toBe(error)
  }
  const [batch] = await told(
    {
      launch: async () => {
        await fail(new TypeError('canary'))
        await fail(Object.assign(new Error('canary'), { code: 7, name: 'two words' }))
        await fail(undefined)
        await vendorSpan('wait', () => new Promise(setImmediate))
        return { handle }
      },
    },
    (host, spans) => host.worker.launch(spec, options({ spans })),
  )
  expect(batch?.spans.map(({ failed }) => failed)).toEqual(['TypeError', 'error', 'error', undefined, undefined])
  expect(batch?.spans[3]?.ms).toBeGreaterThan(0)
})

test('more than a call may have, and what has not ended, are dropped and counted', async () => {
  const [batch] = await told(
    {
      launch: async () => {
        void vendorSpan('never', () => new Promise(() => undefined))
        for (let n = 0; n < maxCallSpans + 10; n++) await vendorSpan(`ask ${n}`, async () => undefined)
        return { handle }
      },
    },
    (host, spans) => host.worker.launch(spec, options({ spans })),
  )
  expect([batch?.spans.length, batch?.dropped]).toEqual([maxCallSpans, 12])
  expect(batch?.spans.at(-1)?.name).toBe('plugin launch')
})

test('text is cut, and cleaned of secrets', () => {
  const how = { clean: (text: string) => text.replaceAll('s3cret', '[secret]'), now: () => 1 }
  const trail = openTrail(`00-${trace}-${caller}-01`, 'launch', how)
  const facts = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`f${n}`, `s3cret${'x'.repeat(300)}`]))
  trail.begin(`ask s3cret${'x'.repeat(200)}`, facts).end({ failed: `s3cret${'x'.repeat(200)}` })
  const [span] = trail.finish().spans
  expect([span?.name.length, span?.failed, Object.keys(span?.facts ?? {}).length]).toEqual([100, `[secret]${'x'.repeat(92)}`, 8])
  expect(JSON.stringify(span)).not.toContain('s3cret')
  for (const fact of Object.values(span?.facts ?? {})) expect(fact).toHaveLength(200)
  const [bare] = openTrail(`00-${trace}-${caller}-01`, 'launch', how).finish().spans
  expect(Object.keys(bare ?? {})).toEqual(['trace', 'span', 'parent', 'name', 'kind', 'at', 'ms'])
})

test('what no exporter could take is not told, and breaks nothing', async () => {
  const [batch] = await told(
    {
      launch: async () => {
        await vendorSpan('', async (span) => {
          for (const [name, value] of Object.entries({ retry: NaN, size: 1e300, left: Infinity, part: 0.5, status: 200 }))
            span.fact(name, value)
        })
        return { handle }
      },
    },
    (host, spans) => host.worker.launch(spec, options({ spans })),
  )
  expect(batch?.spans).toMatchObject([{ name: 'vendor', facts: { part: 0.5, status: 200 } }, { name: 'plugin launch' }])
  expect(Object.keys(batch?.spans[0]?.facts ?? {})).toEqual(['part', 'status'])
  const ids = { trace, span: caller, parent: caller, name: 'x', kind: 'client' }
  for (const wrong of [
    { at: 1e308, ms: 1 },
    { at: 1, ms: 1e308 },
    { at: 1, ms: 1, facts: { a: 1e300 } },
  ])
    expect(spanRecordSchema.safeParse({ ...ids, ...wrong }).success).toBe(false)
})

test('where nobody records there are none, and work is done all the same', async () => {
  expect(await told({ launch: async () => ({ handle }) }, (host) => host.worker.launch(spec, options()))).toEqual([])
  expect(await vendorSpan('ask', async ({ traceparent }) => [traceparent])).toEqual([undefined])
  await expect(vendorSpan('ask', () => Promise.reject(new Error('its own')))).rejects.toThrow('its own')
  expect(inTrail(undefined, () => 1)).toBe(1)
})

test('a plugin that says what no span is has broken the protocol; of a call that nobody waits for nothing is heard', async () => {
  const { host, raw } = connect()
  const call = failure(host.worker.probe(options({ spans: () => undefined })))
  await raw.request('worker.probe')
  raw.message({ jsonrpc: '2.0', method: '$/spans', params: { call: 99, spans: [], dropped: 0 } })
  raw.message({ jsonrpc: '2.0', method: '$/spans', params: { call: 1, spans: [{ name: '' }], dropped: 0 } })
  expect(await host.closed).toMatchObject({ kind: 'violation', violation: 'bad-params' })
  await call
})

test('a plugin tells of a call once: more is a flood', async () => {
  const { host, raw } = connect()
  let heard = 0
  const call = failure(host.worker.probe(options({ spans: () => void (heard += 1) })))
  await raw.request('worker.probe')
  for (let n = 0; n < 2; n++) raw.message({ jsonrpc: '2.0', method: '$/spans', params: { call: 1, spans: [], dropped: 0 } })
  expect(await host.closed).toMatchObject({ kind: 'violation', violation: 'flood' })
  expect(heard).toBe(1)
  await call
})
