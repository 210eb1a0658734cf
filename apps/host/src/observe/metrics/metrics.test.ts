import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from '../../engine/testing/harness.ts'
import type { LiveWorker, RunRecord } from '../../engine/model.ts'
import { type Family, readExposition, sampleOf } from '../testing/exposition.ts'
import { metricDefinitions, type MetricName, metricNames } from './definitions.ts'
import { countEngine, countRun } from './engine.ts'
import { createMetrics, type Metrics } from './metrics.ts'

let h: Harness
let metrics: Metrics
afterEach(() => h.close())

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig(), poolConfig({ name: 'small', scale: { max: 1 } })],
    providers: [{ name: 'one', readyMs: 3000 }],
    ...options,
  })
  metrics = createMetrics()
  countEngine(metrics, h.engine)
}

const scrape = async (): Promise<Map<string, Family>> => readExposition(await metrics.scrape())

test('a lease from its request to the end of its worker, in numbers', async () => {
  await open()
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.engine.leases.request(leaseRequest({ pool: 'small' }))
  await h.engine.leases.request(leaseRequest({ pool: 'small' }))
  await h.settle()
  const early = await scrape()
  const phases = (families: Map<string, Family>, pool: string): Record<string, number> =>
    Object.fromEntries(
      (families.get('muster_workers')?.samples ?? [])
        .filter((one) => one.labels['pool'] === pool)
        .map((one) => [one.labels['phase'] ?? '', one.value]),
    )
  expect(phases(early, 'ci')).toEqual({ starting: 1 })
  expect(sampleOf(early, 'muster_leases', { pool: 'small', state: 'queued' })).toBe(1)
  expect(sampleOf(early, 'muster_leases', { pool: 'small', state: 'held' })).toBe(1)
  expect(sampleOf(early, 'muster_lease_queue_seconds_count', { pool: 'ci' })).toBe(1)
  await h.pass(3500)
  const ready = await scrape()
  expect(phases(ready, 'ci')).toEqual({ leased: 1 })
  const made = { pool: 'ci', provider: 'one' }
  expect(sampleOf(ready, 'muster_worker_ready_seconds_count', made)).toBe(1)
  const took = sampleOf(ready, 'muster_worker_ready_seconds_sum', made) ?? 0
  expect(took).toBeGreaterThanOrEqual(3)
  expect(took).toBeLessThan(3.5)
  expect(sampleOf(ready, 'muster_worker_ready_seconds_bucket', { ...made, le: '2.5' })).toBe(0)
  expect(sampleOf(ready, 'muster_worker_ready_seconds_bucket', { ...made, le: '5' })).toBe(1)
  expect(sampleOf(ready, 'muster_lease_active_seconds_count', { pool: 'ci' })).toBe(1)
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(2000)
  const over = await scrape()
  expect(phases(over, 'ci')).toEqual({})
  expect(sampleOf(over, 'muster_workers_ended_total', { ...made, end: 'gone' })).toBe(1)
  expect(sampleOf(over, 'muster_worker_terminate_seconds_count', made)).toBe(1)
  expect(sampleOf(over, 'muster_leases_ended_total', { pool: 'ci', end: 'released' })).toBe(1)
  expect(sampleOf(over, 'muster_decisions_total', { rule: 'worker-gone' })).toBe(1)
  expect(sampleOf(over, 'muster_journal_rows_total')).toBe(h.engine.events.last())
  expect(sampleOf(over, 'muster_acting')).toBe(1)
  expect(sampleOf(over, 'muster_store_ok')).toBe(1)
})

test('what is counted before the library is there is not lost, and numbers of workers never drift', async () => {
  await open()
  const ids = await Promise.all(Array.from({ length: 8 }, async () => (await h.engine.leases.request(leaseRequest())).id))
  await h.pass(4000)
  for (const id of ids.slice(0, 5)) await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(4000)
  const families = await scrape()
  expect(sampleOf(families, 'muster_worker_ready_seconds_count', { pool: 'ci', provider: 'one' })).toBe(8)
  expect(sampleOf(families, 'muster_workers', { pool: 'ci', provider: 'one', phase: 'leased' })).toBe(3)
  expect((families.get('muster_workers')?.samples ?? []).reduce((sum, one) => sum + one.value, 0)).toBe(
    [...h.engine.workers.live()].length,
  )
  // A scrape changes nothing.
  expect(sampleOf(await scrape(), 'muster_worker_ready_seconds_count', { pool: 'ci', provider: 'one' })).toBe(8)
})

test('after a restart the workers that live on are there, as adopted', async () => {
  await open()
  await h.engine.leases.request(leaseRequest())
  await h.pass(4000)
  await h.crash()
  metrics = createMetrics()
  countEngine(metrics, h.engine)
  const families = await scrape()
  expect(sampleOf(families, 'muster_workers_adopted_total', { provider: 'one' })).toBe(1)
  expect(sampleOf(families, 'muster_workers', { pool: 'ci', provider: 'one', phase: 'leased' })).toBe(1)
})

test('orphans and conditions by state, and gone from the scrape with their cause', async () => {
  let broken = true
  await open({
    providers: [
      {
        name: 'one',
        fault: (method) =>
          method === 'list' && broken ? { error: new ProviderError('transient', 'away', { effect: 'none' }) } : undefined,
      },
    ],
  })
  await h.pass(120_000)
  expect(sampleOf(await scrape(), 'muster_conditions', { scope: 'provider', type: 'list-failing' })).toBe(1)
  broken = false
  const { vendor } = h.provider()
  const { lease } = await h.engine.leases.wait((await h.engine.leases.request(leaseRequest())).id, () => true)
  await h.pass(5000)
  const [known] = [...vendor.workers.values()]
  if (known === undefined) throw new Error('no worker was made')
  const stranger = `w${'9'.repeat(26)}`
  vendor.workers.set(stranger, {
    ...known,
    spec: { ...known.spec, id: stranger, tags: { ...known.spec.tags, 'muster-worker': stranger } },
  })
  await h.engine.reconcile()
  await h.settle()
  const found = await scrape()
  expect(sampleOf(found, 'muster_conditions', { scope: 'provider', type: 'list-failing' })).toBeUndefined()
  expect(sampleOf(found, 'muster_orphans', { provider: 'one', state: 'quarantined' })).toBe(1)
  expect(sampleOf(found, 'muster_orphans_total', { provider: 'one', event: 'quarantined' })).toBe(1)
  await h.pass(300_000)
  const over = await scrape()
  expect(sampleOf(over, 'muster_orphans', { provider: 'one', state: 'quarantined' })).toBeUndefined()
  expect(sampleOf(over, 'muster_orphans_total', { provider: 'one', event: 'gone' })).toBe(1)
  expect(lease.pool).toBe('ci')
})

test('providers: one state of all is 1, restarts are a counter', async () => {
  await open()
  h.provider().setState('degraded', { reason: 'away' })
  const families = await scrape()
  expect(sampleOf(families, 'muster_provider_state', { provider: 'one', state: 'degraded' })).toBe(1)
  expect(sampleOf(families, 'muster_provider_state', { provider: 'one', state: 'ready' })).toBe(0)
  expect(sampleOf(families, 'muster_provider_breaker', { provider: 'one', state: 'closed' })).toBe(1)
  expect(families.get('muster_provider_restarts_total')?.type).toBe('counter')
})

test('a store that is ill does not take the scrape with it', async () => {
  await open()
  const { store } = h.engine
  const health = store.health()
  store.health = () => ({ ...health, state: 'full', message: 'no room', hint: '' })
  Object.defineProperty(store, 'read', {
    get: () => {
      throw new Error('it cannot be read')
    },
  })
  const families = await scrape()
  expect(sampleOf(families, 'muster_store_ok')).toBe(0)
  expect(sampleOf(families, 'muster_conditions', { scope: 'host', type: 'store-full' })).toBe(1)
  expect(families.has('muster_orphans')).toBe(false)
})

test('runs by outcome, and how long their commands took', async () => {
  await open()
  const run = { pool: 'ci', outcome: 'passed', started_at: 1000, ended_at: 3500, ahead: null } as RunRecord
  countRun(metrics, run)
  countRun(metrics, { ...run, outcome: 'cancelled', started_at: null })
  const families = await scrape()
  expect(sampleOf(families, 'muster_runs_ended_total', { pool: 'ci', outcome: 'passed' })).toBe(1)
  expect(sampleOf(families, 'muster_runs_ended_total', { pool: 'ci', outcome: 'cancelled' })).toBe(1)
  expect(sampleOf(families, 'muster_run_seconds_sum', { pool: 'ci' })).toBe(2.5)
  expect(sampleOf(families, 'muster_run_seconds_count', { pool: 'ci' })).toBe(1)
})

test('every metric of the table can be scraped as what the table says: kind, help, labels, buckets', async () => {
  await open()
  const labelled = (name: MetricName): Record<string, string> =>
    Object.fromEntries(metricDefinitions[name].labels.map((label) => [label, 'a "b"\\\nc']))
  for (const name of metricNames) {
    const { kind } = metricDefinitions[name]
    if (kind === 'histogram') metrics.record(name, 1, labelled(name))
    else metrics.count(name, labelled(name))
  }
  metrics.onScrape((set) => {
    for (const name of metricNames) set(name, 7, labelled(name))
  })
  const families = await scrape()
  expect([...families.keys()].sort()).toEqual([...metricNames].sort())
  for (const name of metricNames) {
    const { kind, help, labels, buckets = [] } = metricDefinitions[name]
    const family = families.get(name)
    expect([name, family?.type, family?.help]).toEqual([name, kind, help])
    for (const sample of family?.samples ?? []) {
      const { le, ...own } = sample.labels
      expect([name, Object.keys(own).sort()]).toEqual([name, [...labels].sort()])
      if (le !== undefined) expect([...buckets.map(String), '+Inf']).toContain(le)
    }
  }
})

test('a scrape of 10,000 workers walks over label sets, not over workers', async () => {
  await open()
  const { live } = h.engine.workers
  let walks = 0
  const scraped = async (count: number): Promise<string[]> => {
    const own = createMetrics()
    h.engine.workers.live = function* () {
      walks += 1
      for (let n = 0; n < count; n++) yield { id: `w${n}`, pool: 'ci', provider: 'one', phase: 'leased' } as LiveWorker
    }
    countEngine(own, h.engine)
    walks = 0
    await own.scrape()
    return (await own.scrape()).split('\n').filter((line) => line.startsWith('muster_workers{'))
  }
  const line = (count: number): string[] => [`muster_workers{pool="ci",provider="one",phase="leased"} ${count}`]
  expect(await scraped(10)).toEqual(line(10))
  expect(await scraped(10_000)).toEqual(line(10_000))
  expect(walks).toBe(0)
  h.engine.workers.live = live
})
