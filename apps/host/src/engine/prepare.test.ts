/** What a provider prepares for a pool is removed when the pool needs it no longer, and never before. */
import { type PoolRequest, ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness
let told: string[]
let asked: Omit<PoolRequest, 'tags'>[]
let fault: Fault | undefined
/** Those that the fault is for. */
let failing: (pool: string | undefined) => boolean
/** What was prepared has been taken away; preparing it anew `helps`. */
let lacking: boolean
let helps: boolean
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function open(pools: PoolConfig[]): Promise<void> {
  told = []
  asked = []
  fault = undefined
  failing = () => true
  lacking = false
  helps = true
  h = await openHarness({
    pools,
    providers: [
      {
        name: 'one',
        capabilities: {
          ...{ preparePool: true, services: true },
          fields: ['image', 'services', 'network.egress.restricted', 'network.allow', 'settings'],
        },
        prepared: (pool, request) => {
          told.push(`prepared ${pool}`)
          asked.push(request)
          lacking &&= !helps
        },
        unprepared: (_pool, digest) => void told.push(`removed ${digest}`),
        fault: (method, pool) =>
          method === 'launch' && lacking ? notFound : method === 'unpreparePool' && failing(pool) ? fault : undefined,
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

const image = (name: string, pool = 'ci'): PoolConfig => poolConfig({ name: pool, work: 'hold', worker: { image: name } })
const notFound = { error: new ProviderError('not-found', 'no such namespace', { effect: 'none' }) }
const away = { error: new ProviderError('transient', 'away', { effect: 'none' }) }

/** A worker of each, that came and went. */
async function use(...pools: string[]): Promise<void> {
  for (const pool of pools) {
    const { id } = await h.engine.leases.request(leaseRequest({ pool }))
    await h.pass(1000)
    await h.engine.leases.release(id, { reason: 'done' })
  }
  await h.pass(1000)
}

test('is all that its workers are made of and what stands beside them, each image once', async () => {
  const service = (name: string, of: string) => ({ name, image: of })
  const worker = {
    image: 'a',
    services: [service('db', 'postgres:18'), service('other', 'postgres:18'), service('queue', 'redis:8')],
    network: { egress: 'restricted' as const, allow: ['mirror.example:443'] },
    settings: { pull: 'always' },
  }
  await open([poolConfig({ work: 'hold', worker }), poolConfig({ name: 'bare', work: 'hold', worker: {} })])
  await use('ci', 'bare')
  const { image: own, settings } = worker
  expect(asked).toEqual([
    { pool: 'ci', image: own, serviceImages: ['postgres:18', 'redis:8'], egress: 'restricted', settings },
    { pool: 'bare' },
  ])
})

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
  fault = away
  h.leaving.add('one')
  await configure([])
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(600_000)
  expect([h.leaving.has('one'), told]).toEqual([true, ['prepared ci']])
  fault = undefined
  await h.pass(600_000)
  expect([h.leaving.has('one'), h.gone.has('one'), told]).toEqual([false, true, ['prepared ci', 'removed ci-a']])
})

test('is no matter of other pools: that of one cannot be removed, that of the next is', async () => {
  await open([image('a', 'first'), image('a', 'second')])
  await use('first', 'second')
  fault = away
  failing = (pool) => pool === 'first'
  await configure([])
  expect(told.slice(2)).toEqual(['removed second-a'])
})

test('and one that hangs holds up no launch of another pool', async () => {
  await open([image('a', 'first')])
  await use('first')
  fault = { delayMs: 200_000 }
  await configure([image('a')])
  await held()
  expect(told).toEqual(['prepared first', 'prepared ci'])
  await h.pass(200_000)
  expect(told.slice(2)).toEqual(['removed first-a'])
})

test('many at once take a part of what the provider takes at once, and each has its turn', async () => {
  const names = Array.from({ length: 20 }, (_, n) => `p${String(n)}`)
  await open(names.map((name) => image('a', name)))
  await use(...names)
  let most = 0
  let underWay = 0
  failing = () => {
    underWay += 1
    most = Math.max(most, underWay)
    h.clock.after(1000, () => void (underWay -= 1))
    return true
  }
  fault = { delayMs: 1000 }
  await configure([])
  await h.pass(5000)
  expect(told.filter((one) => one.startsWith('removed'))).toHaveLength(20)
  // A quarter of the 64 of the scripted provider.
  expect(most).toBe(16)
})

test('that cannot be removed is a condition after three tries, which names pool and reason, and ends with the removal', async () => {
  await open([image('a', 'first'), image('a', 'second')])
  await use('first', 'second')
  fault = away
  await configure([])
  await h.pass(4000)
  expect(h.engine.conditions.list()).toEqual([])
  await h.pass(12_000)
  expect(h.engine.conditions.list()).toMatchObject([
    {
      scope: 'provider',
      name: 'one',
      type: 'unprepare-failing',
      message: "what was prepared for the pool 'first' cannot be removed: transient: away; nor for 'second'",
    },
  ])
  failing = (pool) => pool === 'first'
  await h.pass(60_000)
  expect(h.engine.conditions.list()).toMatchObject([
    { message: "what was prepared for the pool 'first' cannot be removed: transient: away" },
  ])
  fault = undefined
  await h.pass(300_000)
  expect(h.engine.conditions.list()).toEqual([])
  expect(told.slice(2)).toEqual(['removed second-a', 'removed first-a'])
})

test('that a pool needs again is no condition any more, also of one that came back while the daemon was away', async () => {
  for (const restarts of [false, true]) {
    const pools = [image('a')]
    await open(pools)
    await use('ci')
    fault = away
    await configure([])
    await h.pass(20_000)
    expect(h.engine.conditions.list()).toMatchObject([{ type: 'unprepare-failing' }])
    await (restarts ? h.crash() : configure(pools))
    await h.pass(1000)
    expect(h.engine.conditions.list()).toEqual([])
    await h.pass(600_000)
    expect(told.filter((one) => one.startsWith('removed'))).toEqual([])
    if (!restarts) await h.close()
  }
})

test('a try that is repeated is the same one for the provider', async () => {
  await open([image('a')])
  const keys: (string | undefined)[] = []
  const { preparePool } = h.provider()
  h.provider().preparePool = (request, options) => {
    keys.push(options?.idempotencyKey)
    return keys.length === 1 ? Promise.reject(away.error) : preparePool(request, options)
  }
  await h.engine.leases.request(leaseRequest())
  await h.pass(30_000)
  expect(keys).toEqual(['ci:prepare', 'ci:prepare'])
})

test('is made again for a launch that does not find it, once for each', async () => {
  await open([image('a')])
  const first = await held()
  lacking = true
  const second = await held()
  expect(told).toEqual(['prepared ci', 'prepared ci'])
  expect((await h.engine.journal.why('lease', second)).map((row) => row.rule)).toContain('launch-retry')
  for (const id of [first, second]) await h.engine.leases.release(id, { reason: 'done' })
  lacking = true
  helps = false
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(60_000)
  expect(await h.engine.leases.find(id)).toMatchObject({ end: 'failed' })
  expect(told).toEqual(['prepared ci', 'prepared ci', 'prepared ci'])
})
