/** The spans of launches and terminates whose call is not sent: each ends, with what became of it, as a collector has it. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { startOtlp } from '../observe/otlp.ts'
import { type Collector, startCollector } from '../observe/testing/collector.ts'
import type { Tracing } from '../observe/trace.ts'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

const trace = 'ab'.repeat(16)
const ann = { principal: 'ann', reason: 'new image' }
let h: Harness
let collector: Collector
let tracing: Tracing
let begun: string[]
/** Until it is resolved, what a pool needs is being made. */
let made: PromiseWithResolvers<void>
/** Of a launch. */
let fault: Fault | undefined
/** Where the provider is. */
let configs: Record<string, string>
afterEach(async () => {
  await h.close()
  await tracing.stop()
  await collector[Symbol.asyncDispose]()
})

async function open(scale: Partial<PoolConfig['scale']> = {}): Promise<void> {
  collector = await startCollector()
  const log = { info: () => undefined, warn: () => undefined }
  tracing = startOtlp({ url: collector.url, headers: {}, sample: 1, version: '1', log, everyMs: 20 })
  begun = []
  const start: Tracing['start'] = (name, given) => {
    begun.push(name)
    return tracing.start(name, given)
  }
  made = Promise.withResolvers<void>()
  fault = undefined
  configs = { one: 'here' }
  const capabilities = { preparePool: true }
  const launching = (method: string): Fault | undefined => (method === 'launch' ? fault : undefined)
  h = await openHarness({
    pools: [poolConfig({ work: 'hold', scale })],
    providers: [{ name: 'one', capabilities, prepared: () => made.promise, fault: launching }],
    engine: {
      tracing: { ...tracing, start },
      get configs() {
        return configs
      },
    },
  })
}

/** A lease whose launch waits for what its pool needs. */
async function asked(): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest({ traceparent: `00-${trace}-${'cd'.repeat(8)}-01` }))
  await h.settle()
  expect(begun).toEqual(['worker launch'])
  return id
}

/** As the collector has them, once nothing is left here. */
async function spans(): Promise<[name: string, failed: string | undefined][]> {
  await tracing.stop()
  const all = collector.spans().filter((one) => one.name.startsWith('worker '))
  return all.map(({ name, failed }) => [name, failed])
}

test('a launch whose pool is paused before the call ends as taken back', async () => {
  await open()
  const lease = await asked()
  await h.engine.pools.pause('ci', ann)
  made.resolve()
  await h.pass(1000)
  expect((await h.engine.journal.why('lease', lease)).map(({ rule }) => rule)).toContain('launch-taken-back')
  expect(await spans()).toEqual([['worker launch', 'taken-back']])
})

test.each([
  ['whose lease is given back', async () => undefined],
  ['of a pool that is drained, whose lease is given back', () => h.engine.pools.drain('ci', ann)],
])('one %s before the call ends as cancelled, and is not sent', async (_what, before) => {
  await open()
  const lease = await asked()
  await before()
  await h.engine.leases.release(lease, { reason: 'not wanted' })
  await h.settle()
  made.resolve()
  await h.pass(1000)
  expect(h.provider().vendor.calls.filter(({ method }) => method === 'launch')).toEqual([])
  expect([...h.engine.workers.live()]).toEqual([])
  expect(await spans()).toEqual([['worker launch', 'cancelled']])
})

test('one for the stock of a pool that is drained before the call ends, however it goes on', async () => {
  await open({ warm: 1 })
  await h.settle()
  expect(begun).toEqual(['worker launch'])
  await h.engine.pools.drain('ci', ann)
  made.resolve()
  await h.pass(60_000)
  expect((await spans()).length).toBe(begun.length)
})

test('one whose preparing fails ends with its code', async () => {
  await open()
  const lease = await asked()
  await h.engine.pools.pause('ci', ann)
  made.reject(new Error('no network'))
  await h.pass(1000)
  expect(h.engine.leases.get(lease)?.state).toBe('queued')
  expect(await spans()).toEqual([['worker launch', 'internal']])
})

test('one that is repeated, and whose provider is somewhere else by then, ends as put off', async () => {
  await open()
  fault = { effect: true, error: new ProviderError('transient', 'the line broke', { effect: 'possible' }) }
  made.resolve()
  await asked()
  await h.settle()
  made = Promise.withResolvers()
  await h.crash(1000)
  configs = { one: 'elsewhere' }
  const settings = { configs, reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'ann', changes: [], known: { one: [] }, commit: () => undefined }
  await h.engine.configure({ pools: [poolConfig({ work: 'hold' })], ...settings }, how)
  h.provider().vendor.workers.clear()
  fault = undefined
  made.resolve()
  await h.pass(1000)
  expect(begun).toEqual(['worker launch', 'worker launch'])
  expect(await spans()).toEqual([
    ['worker launch', 'transient'],
    ['worker launch', 'put-off'],
  ])
})
