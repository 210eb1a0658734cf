import { ProviderError, type WorkerStats } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { countEngine } from '../observe/metrics/engine.ts'
import { createMetrics } from '../observe/metrics/metrics.ts'
import { readExposition, sampleOf } from '../observe/testing/exposition.ts'
import type { Job } from './runs/deps.ts'
import { withMemory } from './runs/memory.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import { following, sampleEveryMs } from './usage.ts'

const MiB = 2 ** 20
let h: Harness
afterEach(() => h?.close())

const at = (seconds: number): string => new Date(Date.parse('2026-01-31T09:30:00Z') + seconds * 1000).toISOString()
const sample = (given: Partial<WorkerStats> = {}): Omit<WorkerStats, 'id'> => ({
  ...{ at: at(0), cpuSeconds: 10, memoryBytes: 100, memoryPeakBytes: 300 },
  ...given,
})

async function withWorker(stats = true): Promise<string> {
  h = await openHarness({ pools: [poolConfig({ scale: { max: 3 } })], providers: [{ name: 'one', capabilities: { stats } }] })
  await h.engine.leases.request(leaseRequest())
  await h.settle()
  return [...h.engine.workers.live()][0]?.id ?? ''
}

test('what follows from two samples: vCPUs between them, and the highest peak of all', () => {
  expect(following(sample(), undefined)).toEqual(sample())
  const before = following(sample(), undefined)
  expect(following(sample({ at: at(4), cpuSeconds: 12, memoryPeakBytes: 200 }), before)).toMatchObject({
    cpu: 0.5,
    memoryPeakBytes: 300,
  })
  // Without a word of the vendor the peak is the most that was seen.
  const { memoryPeakBytes: _none, ...plain } = sample({ at: at(1), memoryBytes: 400 })
  expect(following(plain, before).memoryPeakBytes).toBe(400)
  // Of one instant nothing follows, and a counter that began anew is no work undone.
  expect(following(sample(), before)).not.toHaveProperty('cpu')
  expect(following(sample({ at: at(1), cpuSeconds: 1 }), before).cpu).toBe(0)
})

test('a hundred samples a second at most, however many workers there are', () => {
  expect([0, 1, 200, 201, 1000, 10_000].map((workers) => sampleEveryMs(workers))).toEqual([
    2000, 2000, 2000, 2010, 10_000, 100_000,
  ])
  expect([0, 10_000].map((workers) => sampleEveryMs(workers, 30_000))).toEqual([30_000, 100_000])
})

test('the last sample of each worker that lives, by pool too; nothing of strangers, nothing of those that are gone', async () => {
  const id = await withWorker()
  const other = `w${'9'.repeat(26)}`
  h.provider().sample(
    { id, ...sample() },
    { id: other, ...sample() },
    { id, ...sample({ at: at(2), cpuSeconds: 11, memoryBytes: 150 }) },
  )
  await h.settle()
  const { usage } = h.engine
  expect(usage.of(id)).toMatchObject({ memoryBytes: 150, cpu: 0.5, memoryPeakBytes: 300 })
  expect(usage.of(other)).toBeUndefined()
  expect([...usage.byPool()]).toEqual([['ci', { workers: 1, cpu: 0.5, memoryBytes: 150 }]])
  expect(h.engine.pools.get('ci')?.usage).toEqual({ workers: 1, cpu: 0.5, memoryBytes: 150 })
  await h.engine.workers.terminate(id, { principal: 'tester', force: true })
  await h.pass(5000)
  expect(usage.of(id)).toBeUndefined()
  expect(h.engine.pools.get('ci')).not.toHaveProperty('usage')
})

test('one that is switched off is not asked, and nothing of its workers is known; switched on again it is, at the pace that is wanted', async () => {
  const id = await withWorker()
  const asked = (): (number | undefined)[] =>
    h.provider().vendor.calls.flatMap(({ method, everyMs }) => (method === 'stats' ? [everyMs] : []))
  const set = async (stats?: number | 'off'): Promise<void> => {
    const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
    const pools = [poolConfig({ scale: { max: 3 } })]
    const next = { pools, ...settings, stats: stats === undefined ? {} : { one: stats } }
    await h.engine.configure(next, { principal: 'tester', changes: ['it'], commit: () => undefined })
    await h.pass(60_000)
  }
  h.provider().sample({ id, ...sample() })
  await h.settle()
  expect(h.engine.usage.of(id)).toBeDefined()
  await set('off')
  h.provider().sample({ id, ...sample() })
  await h.settle()
  expect(h.engine.usage.of(id)).toBeUndefined()
  expect(asked()).toHaveLength(1)
  await set(10_000)
  h.provider().sample({ id, ...sample() })
  await h.settle()
  expect(h.engine.usage.of(id)).toBeDefined()
  // As it is already.
  await set(10_000)
  await set()
  expect(asked()).toEqual([2000, 10_000, 2000])
})

test('a stream that breaks off is asked for again; a provider that cannot tell is never asked', async () => {
  const id = await withWorker()
  const asked = (): number => h.provider().vendor.calls.filter(({ method }) => method === 'stats').length
  h.provider().sample(new ProviderError('transient', 'the engine ended its events', { effect: 'none' }))
  await h.pass(0)
  // After a pause.
  expect(asked()).toBe(1)
  await h.pass(60_000)
  expect(asked()).toBe(2)
  h.provider().sample({ id, ...sample() })
  await h.settle()
  expect(h.engine.usage.of(id)).toMatchObject({ memoryBytes: 100 })
  await h.close()
  await withWorker(false)
  await h.pass(60_000)
  expect(asked()).toBe(0)
})

test('a stream that breaks off after a long time is asked for again after a pause too, and not before its provider wants it', async () => {
  await withWorker()
  const asked = (): number => h.provider().vendor.calls.filter(({ method }) => method === 'stats').length
  const breaks = (retryAfterMs?: number): void =>
    h
      .provider()
      .sample(new ProviderError('throttled', 'too many asked', { effect: 'none', ...(retryAfterMs && { retryAfterMs }) }))
  await h.pass(60_000)
  breaks()
  await h.pass(0)
  expect(asked()).toBe(1)
  await h.pass(60_000)
  expect(asked()).toBe(2)
  breaks(300_000)
  await h.pass(250_000)
  expect(asked()).toBe(2)
  await h.pass(120_000)
  expect(asked()).toBe(3)
})

test('a stream that came to the end of its time is asked for again at once', async () => {
  await withWorker()
  const asked = (): number => h.provider().vendor.calls.filter(({ method }) => method === 'stats').length
  await h.pass(60_000)
  h.provider().sample(new ProviderError('deadline', 'its time is over', { effect: 'none' }))
  await h.pass(0)
  expect(asked()).toBe(2)
})

test('samples of many more workers than there were are asked for at their pace', async () => {
  h = await openHarness({
    pools: [poolConfig({ scale: { max: 400, warm: 0 } })],
    providers: [{ name: 'one', capabilities: { stats: true } }],
  })
  const provider = h.provider()
  const { stats } = provider
  const paces: number[] = []
  Object.assign(provider, {
    stats: (query: { everyMs: number }, call?: object) => {
      paces.push(query.everyMs)
      return stats(query, call)
    },
  })
  for (let count = 0; count < 400; count++) await h.engine.leases.request(leaseRequest())
  await h.pass(5000)
  const [id = ''] = [...h.engine.workers.live()].map((one) => one.id)
  expect(paces).toEqual([])
  provider.sample({ id, ...sample() })
  await h.settle()
  expect(paces).toEqual([4000])
})

test('a scrape has what workers used, by pool: what was used before this host came is not counted anew', async () => {
  const id = await withWorker()
  await h.pass(1000)
  const metrics = createMetrics()
  countEngine(metrics, h.engine)
  const disk = { readBytes: 5, writtenBytes: 6 }
  h.provider().sample({ id, ...sample({ disk }) })
  await h.settle()
  const network = { receivedBytes: 70, sentBytes: 80 }
  const later = sample({ at: at(4), cpuSeconds: 12, network, disk: { readBytes: 9, writtenBytes: 6 } })
  h.provider().sample({ id, ...later }, { id, ...later })
  await h.settle()
  const families = readExposition(await metrics.scrape())
  const value = (name: string, labels: object = {}): number | undefined => sampleOf(families, name, { pool: 'ci', ...labels })
  expect([value('muster_worker_memory_bytes'), value('muster_worker_cpu_seconds_total')]).toEqual([100, 2])
  expect(value('muster_worker_network_bytes_total', { direction: 'sent' })).toBe(80)
  expect(value('muster_worker_disk_bytes_total', { direction: 'read' })).toBe(4)
  expect(value('muster_worker_disk_bytes_total', { direction: 'written' })).toBeUndefined()
})

test('a run is told its peak where its worker had nothing but it, and the limit too where it ran out of memory', async () => {
  const id = await withWorker()
  h.provider().sample({ id, ...sample({ memoryPeakBytes: 60 * MiB }) })
  await h.settle()
  const worker = h.engine.workers.get(id) as Job['worker']
  const job = { deps: { engine: h.engine }, run: { kind: 'run' }, worker } as Job
  const passed = { outcome: 'passed', exit: { code: 0, reason: '' }, reason: 'exit 0' } as const
  expect(withMemory(job, passed).exit).toEqual({ code: 0, reason: '', memoryPeakBytes: 60 * MiB })
  // Somebody's worker, and one that served another lease before.
  expect(withMemory({ ...job, run: { kind: 'exec' } as Job['run'] }, passed)).toEqual(passed)
  expect(withMemory({ ...job, worker: { ...worker, uses: 1 } }, passed)).toEqual(passed)
  const told = { ...passed, exit: { ...passed.exit, memoryPeakBytes: 7 } }
  expect(withMemory(job, told)).toEqual(told)
  const oom = { outcome: 'oom', exit: { code: 137, oomKilled: true, reason: '' }, reason: 'it ran out of memory' } as const
  const limited = { ...worker, granted: JSON.stringify({ memoryBytes: 64 * MiB }) }
  expect(withMemory({ ...job, worker: limited }, oom).reason).toBe(
    'it ran out of memory: its worker has 64.0 MiB, its last known peak is 60.0 MiB',
  )
  expect(withMemory({ ...job, worker: { ...worker, uses: 1, granted: null, spec: '{}' } }, oom)).toEqual(oom)
})
