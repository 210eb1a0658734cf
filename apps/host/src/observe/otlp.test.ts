import { readFile } from 'node:fs/promises'
import { requireSystem } from '@muster/test/require'
import { makeAuthority, opensslProblem } from '@muster/test/systems/authority'
import { startProxy } from '@muster/test/systems/proxy'
import { tempFolder } from '@muster/test/systems/temp'
import { afterEach, expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { type OtlpOptions, startOtlp } from './otlp.ts'
import { type Collector, startCollector } from './testing/collector.ts'
import type { Tracing } from './trace.ts'

const patience = { timeoutMs: 60_000 }
const lines: { level: string; data: object; message: string }[] = []
const log: OtlpOptions['log'] = {
  info: (data, message) => void lines.push({ level: 'info', data, message }),
  warn: (data, message) => void lines.push({ level: 'warn', data, message }),
}
const started: Tracing[] = []
afterEach(async () => {
  lines.length = 0
  for (const one of started.splice(0)) await one.stop()
})

function open(collector: Collector, given: Partial<OtlpOptions> = {}): Tracing {
  const tracing = startOtlp({ url: collector.url, headers: {}, sample: 1, version: '1.2.3', log, everyMs: 20, ...given })
  started.push(tracing)
  return tracing
}

test('spans reach the collector with their parents, kinds, facts and times; a failure is its code', async () => {
  await using collector = await startCollector()
  const tracing = open(collector)
  const parent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
  const server = tracing.start('createRun', { parent, kind: 'server', facts: { 'http.request.method': 'POST' } })
  const client = tracing.start('provider launch', { parent: server.traceparent, kind: 'client', at: 1_700_000_000_000 })
  client.end({ failed: 'capacity', facts: { 'muster.attempt': 2 }, at: 1_700_000_001_500 })
  server.end()
  await tracing.stop()
  const [launch, run] = collector.spans()
  expect(run).toMatchObject({ name: 'createRun', trace: '1'.repeat(32), parent: '2'.repeat(16), kind: 2, failed: undefined })
  expect(launch).toMatchObject({ parent: run?.span, kind: 3, failed: 'capacity', ms: 1500, facts: { 'muster.attempt': 2 } })
  expect(server.traceparent).toBe(`00-${run?.trace}-${run?.span}-01`)
  expect(collector.text()).toContain('"1.2.3"')
})

test('spans that a plugin has ended are sent as they are, with what the host knows of them', async () => {
  await using collector = await startCollector()
  const tracing = open(collector)
  const ids = { trace: '1'.repeat(32), span: '3'.repeat(16), parent: '2'.repeat(16) }
  const facts = { long: 'x'.repeat(300), status: 409 }
  tracing.take(
    [{ ...ids, name: 'engine GET /info', kind: 'client', at: 1_700_000_000_000.5, ms: 1500.25, failed: '409', facts }],
    {
      'muster.provider': 'p',
    },
  )
  await tracing.stop()
  expect(collector.spans()).toEqual([
    {
      ...ids,
      name: 'engine GET /info',
      kind: 3,
      failed: '409',
      ms: 1500,
      facts: { long: 'x'.repeat(200), status: 409, 'muster.provider': 'p' },
    },
  ])
})

test('a client that does not sample is followed; what begins here is sampled by its share', async () => {
  await using collector = await startCollector()
  const none = open(collector, { sample: 0 })
  const all = open(collector)
  const quiet = all.start('a', { parent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-00` })
  expect(quiet.traceparent).toMatch(new RegExp(`^00-${'1'.repeat(32)}-[0-9a-f]{16}-00$`))
  quiet.end()
  const own = none.start('b')
  expect(own.traceparent).toMatch(/-00$/)
  own.end()
  const asked = none.start('c', { parent: `00-${'3'.repeat(32)}-${'2'.repeat(16)}-01` })
  asked.end()
  await Promise.all([none.stop(), all.stop()])
  expect(collector.spans().map(({ name }) => name)).toEqual(['c'])
})

test('headers: as they stand, from a variable, from a file that is read anew; one that is missing is said once', async () => {
  await using collector = await startCollector()
  process.env['OTLP_TEST_HEADER'] = 'Bearer of-env'
  const tracing = open(collector, {
    headers: {
      'x-tenant': 'one',
      authorization: { env: 'OTLP_TEST_HEADER' },
      'x-gone': { file: '/nowhere/secret' },
    },
  })
  for (let n = 1; n <= 3; n++) {
    tracing.start(`n${n}`).end()
    await waitFor('a batch', async () => collector.spans().length === n, patience)
    process.env['OTLP_TEST_HEADER'] = 'Bearer rotated'
  }
  delete process.env['OTLP_TEST_HEADER']
  const seen = collector.headers()
  expect(seen[0]).toMatchObject({ 'x-tenant': 'one', authorization: 'Bearer of-env' })
  expect(seen.at(-1)).toMatchObject({ authorization: 'Bearer rotated' })
  expect(seen[0]).not.toHaveProperty('x-gone')
  expect(lines.map(({ level, data }) => [level, data])).toEqual([['warn', { headers: ['x-gone'] }]])
})

test('a collector that refuses is said once, and once that it takes again; nothing waits for it', async () => {
  await using collector = await startCollector()
  collector.answer(400)
  const tracing = open(collector)
  for (let n = 1; n <= 4; n++) {
    tracing.start('lost').end()
    await waitFor('a try', async () => collector.asked() >= n, patience)
  }
  expect(lines.map(({ level }) => level)).toEqual(['warn'])
  collector.answer(200)
  tracing.start('kept').end()
  await waitFor('a batch that is taken', async () => collector.spans().some(({ name }) => name === 'kept'), patience)
  await waitFor('the second line', async () => lines.length === 2, patience)
  expect(lines.map(({ level }) => level)).toEqual(['warn', 'info'])
})

test.each([
  [500, '500'],
  [503, 'it asks for another try later, and again'],
  ['never', 'it does not answer in time'],
  ['endless', 'its answer is longer than is read'],
] as const)('a collector that answers with %s is told by that', async (how, reason) => {
  await using collector = await startCollector()
  collector.answer(how)
  const tracing = open(collector, { sendMs: 200 })
  tracing.start('lost').end()
  await waitFor('the line', async () => lines.length > 0, patience)
  expect(lines).toMatchObject([{ level: 'warn', data: { reason } }])
})

test('a collector that is silent holds neither spans without bound nor the end', { timeout: 120_000 }, async () => {
  await using collector = await startCollector()
  collector.answer('never')
  const tracing = open(collector)
  for (let n = 0; n < 20_000; n++) tracing.start('one of many').end()
  const ended = await Promise.race([
    tracing.stop().then(() => 'stopped'),
    // paced: far beyond what a stop may take, also on a slow machine
    new Promise((resolve) => setTimeout(resolve, 60_000, 'hangs')),
  ])
  expect(ended).toBe('stopped')
  expect(collector.asked()).toBeLessThan(20)
})

test('through a proxy, and by an authority of its own; without it the reason is named', async (context) => {
  await requireSystem(context, { name: 'openssl', probe: opensslProblem })
  await using folder = await tempFolder('otlp')
  const [mine, other] = [await makeAuthority(folder.path, 'mine'), await makeAuthority(folder.path, 'other')]
  const { cert, key } = await mine.issue('collector', ['IP:127.0.0.2'])
  const tls = { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
  await using collector = await startCollector({ tls, host: '127.0.0.2' })
  await using proxy = await startProxy({ password: 'pass-canary' })
  const ca = await readFile(mine.file, 'utf8')
  const send = async (network: NonNullable<OtlpOptions['network']>): Promise<void> => {
    const tracing = open(collector, { network })
    tracing.start('a').end()
    await tracing.stop()
  }
  const place = new URL(collector.url).host
  await send({ proxy: proxy.url, ca })
  expect([collector.spans().length, proxy.tunnels]).toEqual([1, [place]])
  await send({ proxy: proxy.url, noProxy: ['127.0.0.2'], ca })
  expect([collector.spans().length, proxy.tunnels]).toEqual([2, [place]])
  expect(lines).toEqual([])
  await send({ proxy: proxy.url, ca: await readFile(other.file, 'utf8') })
  expect(collector.spans()).toHaveLength(2)
  expect(lines).toMatchObject([{ level: 'warn', data: { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' } }])
  lines.length = 0
  await send({ proxy: proxy.url.replace('pass-canary', 'wrong-canary'), ca })
  expect(proxy.refused).toContain(place)
  expect(lines).toMatchObject([{ level: 'warn', data: { reason: 'ERR_PROXY_TUNNEL' } }])
  expect(JSON.stringify(lines)).not.toContain('canary')
})
