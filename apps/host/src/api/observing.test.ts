import { once } from 'node:events'
import { request as ask } from 'node:http'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { createMetrics } from '../observe/metrics/metrics.ts'
import { readExposition, sampleOf } from '../observe/testing/exposition.ts'
import { traceOfRequest, type Tracing, untraced } from '../observe/trace.ts'
import type { ApiObserver } from './deps.ts'
import { unobserved } from './observing.ts'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

const trace = 'ab'.repeat(16)
const traceparent = `00-${trace}-${'cd'.repeat(8)}-01`

function observer(given: Partial<ApiObserver> = {}): ApiObserver {
  const metrics = createMetrics()
  return {
    ...unobserved,
    scrape: metrics.scrape,
    answered: ({ operation, status, seconds }) => {
      metrics.count('muster_api_requests_total', { operation, status: String(status) })
      metrics.record('muster_api_request_seconds', seconds, { operation })
    },
    streams: (count) => metrics.onScrape((set) => set('muster_api_streams', count())),
    ...given,
  }
}

const viewer = async (daemon: TestDaemon): Promise<string> =>
  (await daemon.ask('POST', '/v1/tokens', { body: { name: 'scraper', role: 'viewer' } })).json['token'] as string

test('metrics are for viewers, unless they are opened', async () => {
  await using daemon = await startTestDaemon({ observer: observer() })
  expect((await daemon.ask('GET', '/metrics', { token: null })).status).toBe(401)
  const answer = await daemon.ask('GET', '/metrics', { token: await viewer(daemon) })
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(sampleOf(readExposition(answer.text), 'muster_api_streams')).toBe(0)
  await using opened = await startTestDaemon({ observer: observer({ publicMetrics: true }) })
  expect((await opened.ask('GET', '/metrics', { token: null })).status).toBe(200)
  // Opened for metrics is not opened for the rest.
  expect((await opened.ask('GET', '/v1/pools', { token: null })).status).toBe(401)
})

test('requests by operation and status: what is not there makes no names, and a stream counts while it lasts', async () => {
  await using daemon = await startTestDaemon({ observer: observer() })
  await daemon.ask('GET', '/v1/pools')
  await daemon.ask('GET', '/v1/pools', { token: null })
  for (const path of ['/nowhere', '/no/where', '/v1/elsewhere']) await daemon.ask('GET', path)
  const url = new URL(daemon.api.url)
  const stream = ask({
    host: url.hostname,
    port: url.port,
    path: '/v1/events',
    headers: { authorization: `Bearer ${daemon.token}` },
  })
  stream.end()
  const [answer] = (await once(stream, 'response')) as [NodeJS.ReadableStream]
  const read = async (): Promise<ReturnType<typeof readExposition>> => readExposition((await daemon.ask('GET', '/metrics')).text)
  const during = await read()
  expect(sampleOf(during, 'muster_api_streams')).toBe(1)
  expect(sampleOf(during, 'muster_api_requests_total', { operation: 'listPools', status: '200' })).toBe(1)
  expect(sampleOf(during, 'muster_api_requests_total', { operation: 'listPools', status: '401' })).toBe(1)
  expect(sampleOf(during, 'muster_api_requests_total', { operation: 'other', status: '404' })).toBe(3)
  expect(sampleOf(during, 'muster_api_request_seconds_count', { operation: 'listPools' })).toBe(2)
  answer.resume()
  stream.destroy()
  await waitFor('the stream to be over', async () => sampleOf(await read(), 'muster_api_streams') === 0, { timeoutMs: 30_000 })
})

test('health and readiness: a status for everybody, the parts for those with a token', async () => {
  await using daemon = await startTestDaemon()
  for (const path of ['/v1/health', '/v1/ready', '/readyz']) {
    const bare = await daemon.ask('GET', path, { token: null })
    expect([bare.status, bare.json]).toEqual([200, { status: 'ok' }])
    expect((await daemon.ask('GET', path, { token: 'nonsense' })).json).toEqual({ status: 'ok' })
    const full = await daemon.ask('GET', path)
    expect(full.json['parts']).toContainEqual({ name: 'store', state: 'ok' })
  }
  daemon.harness.provider().setState('failed', { reason: 'its config is refused', hint: 'mend it' })
  expect((await daemon.ask('GET', '/v1/health', { token: null })).status).toBe(200)
  const ready = await daemon.ask('GET', '/v1/ready')
  expect([ready.status, ready.json['status']]).toEqual([503, 'failing'])
  expect(ready.json['parts']).toContainEqual({
    name: 'provider one',
    state: 'degraded',
    reason: 'its config is refused',
    hint: 'mend it',
  })
  expect((await daemon.ask('GET', '/v1/ready', { token: null })).text).not.toContain('config')
  daemon.harness.engine.acting = () => false
  const lost = await daemon.ask('GET', '/v1/health')
  expect(lost.status).toBe(503)
  expect(lost.json['parts']).toContainEqual(expect.objectContaining({ name: 'term', state: 'failed' }))
  expect((await daemon.ask('GET', '/healthz', { token: null })).status).toBe(200)
})

test('health is answered also when the tokens cannot be read', async () => {
  await using daemon = await startTestDaemon()
  const { store } = daemon.harness.engine
  const health = store.health()
  store.health = () => ({ ...health, state: 'failed', message: 'the disk fails', hint: '' })
  Object.defineProperty(store, 'read', {
    get: () => {
      throw new Error('it cannot be read')
    },
  })
  const answer = await daemon.ask('GET', '/v1/health')
  expect([answer.status, answer.json]).toEqual([503, { status: 'failing' }])
})

test("what a client makes carries the client's trace, else a new one; a header that is none is no trace", async () => {
  await using daemon = await startTestDaemon()
  const { engine } = daemon.harness
  const make = async (headers: Record<string, string>): Promise<string> => {
    const made = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' }, headers })
    return traceOfRequest((await engine.leases.find(made.json['id'] as string))?.request) ?? ''
  }
  expect(await make({ traceparent })).toBe(traceparent)
  const fresh = await make({})
  expect(fresh).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
  for (const wrong of [
    '',
    'x',
    traceparent.toUpperCase(),
    `ff${traceparent.slice(2)}`,
    `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`,
  ]) {
    const given = await make({ traceparent: wrong })
    expect(given).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    expect(given).not.toContain(trace)
  }
  // A later version is read as this one, without its further parts.
  expect(await make({ traceparent: `cc${traceparent.slice(2)}-more` })).toBe(traceparent)
})

test('a span for what changes something, and for what is asked within a trace; nothing of what was said is in it', async () => {
  const spans: { name: string; parent: string | undefined; text: string }[] = []
  const tracing: Tracing = {
    ...untraced,
    on: true,
    start: (name, given = {}) => {
      const span = { name, parent: given.parent, text: JSON.stringify(given) }
      spans.push(span)
      return { traceparent, end: (how) => void (span.text += JSON.stringify(how)) }
    },
  }
  await using daemon = await startTestDaemon({ observer: observer({ tracing }) })
  await daemon.ask('GET', '/v1/pools')
  await daemon.ask('GET', '/v1/pools?secret=canary', { headers: { traceparent } })
  await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['canary'], env: { A: 'canary' } } })
  expect(spans.map(({ name, parent }) => [name, parent])).toEqual([
    ['listPools', traceparent],
    ['createRun', undefined],
  ])
  expect(JSON.stringify(spans)).not.toContain('canary')
  expect(JSON.stringify(spans)).not.toContain(daemon.token)
})
