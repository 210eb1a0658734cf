/** What a provider prepares for a pool is removed when the pool needs it no longer, and never before. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness
let told: string[]
let fault: Fault | undefined
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function open(pools: PoolConfig[]): Promise<void> {
  told = []
  fault = undefined
  h = await openHarness({
    pools,
    providers: [
      {
        name: 'one',
        capabilities: { preparePool: true },
        prepared: (pool) => void told.push(`prepared ${pool}`),
        unprepared: (_pool, digest) => void told.push(`removed ${digest}`),
        fault: (method) => (method === 'unpreparePool' ? fault : undefined),
      },
    ],
  })
}

async function configure(pools: PoolConfig[]): Promise<void> {
  const settings = { owner, reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  await h.engine.configure({ ...settings, pools }, { principal: 'ann', changes: [], commit: () => undefined })
  await h.pass(1000)
}

async function held(): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
  return id
}

const image = (name: string): PoolConfig => poolConfig({ work: 'hold', worker: { image: name } })

test('of a pool that is removed, once its last worker there is gone, and only once', async () => {
  await open([image('a')])
  const id = await held()
  await configure([])
  await h.pass(120_000)
  expect(told).toEqual(['prepared ci'])
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(1000)
  expect(told).toEqual(['prepared ci', 'removed ci-a'])
  expect((await h.engine.journal.why('pool', 'ci')).map((row) => row.rule)).toContain('pool-unprepared')
  await h.crash()
  await h.pass(120_000)
  expect(told).toHaveLength(2)
})

test('of a pool that is changed: the former, and not what it uses now', async () => {
  await open([image('a')])
  const first = await held()
  await configure([image('b')])
  const second = await held()
  expect(told).toEqual(['prepared ci', 'prepared ci'])
  for (const id of [first, second]) await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(1000)
  expect(told.slice(2)).toEqual(['removed ci-a'])
})

test('of a pool that was removed while the daemon was away: by the next start', async () => {
  const pools = [image('a')]
  await open(pools)
  const id = await held()
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(1000)
  pools.length = 0
  await h.crash()
  await h.pass(1000)
  expect(told).toEqual(['prepared ci', 'removed ci-a'])
})

test('is asked for again, ever more rarely, while the provider fails, and a leaving provider waits for it', async () => {
  await open([image('a')])
  const id = await held()
  fault = { error: new ProviderError('transient', 'away', { effect: 'none' }) }
  h.leaving.add('one')
  await configure([])
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(600_000)
  expect([h.leaving.has('one'), told]).toEqual([true, ['prepared ci']])
  fault = undefined
  await h.pass(600_000)
  expect([h.leaving.has('one'), h.gone.has('one'), told]).toEqual([false, true, ['prepared ci', 'removed ci-a']])
})
