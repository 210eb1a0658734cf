/** What `muster why` says of each way things can go, from the engine's own decisions. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { EngineError } from '../engine/api.ts'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from '../engine/testing/harness.ts'
import { toldBy } from './told.test.helper.ts'

let h: Harness
afterEach(() => h.close())

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig({ placement: ['one', 'two'] })],
    providers: [{ name: 'one' }, { name: 'two' }],
    ...options,
  })
}

const told = (kind: Parameters<typeof toldBy>[1]['kind'], id: string): Promise<string> => toldBy(h, { kind, id })

async function lease(given: Parameters<typeof leaseRequest>[0] = {}): Promise<string> {
  return (await h.engine.leases.request(leaseRequest(given))).id
}

/** The first provider fails its first launches so. */
function failing(error: ProviderError, times: number): HarnessOptions['providers'] {
  let left = times
  return [{ name: 'one', fault: (method) => (method === 'launch' && left-- > 0 ? { error } : undefined) }, { name: 'two' }]
}

test('refused: the nearest pool, and the field in which it differs', async () => {
  await open({
    providers: [
      { name: 'one', capabilities: { fields: [] } },
      { name: 'two', capabilities: { fields: [] } },
    ],
  })
  const refused = await lease({ requirements: { resources: { cpu: 4 } } }).catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(EngineError)
  expect((refused as EngineError).refusal).toMatchInlineSnapshot(`
    {
      "code": "cannot-be-served",
      "hint": "Ask without resources.cpu, or give a pool a provider that has it.",
      "message": "no worker of pool ci can be this: resources.cpu is 4, the pool has not supported",
      "nearest": {
        "asked": "4",
        "field": "resources.cpu",
        "has": "not supported",
        "pool": "ci",
      },
    }
  `)
})

test('queued: what it waits for, and what would change it', async () => {
  await open({ pools: [poolConfig({ scale: { max: 1 } })] })
  await lease()
  await h.pass(100)
  const second = await lease()
  await h.pass(100)
  expect(await told('lease', second)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.100  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 1 · max 1 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.100  waits: the pool is at its maximum of 1  [wait-for-room]
                  because  min 0 · max 1 · warm 0 · workers 1 · leaving 0 · idle 0
                  unless   A worker of the pool ends, or scale.max grows.
    "
  `)
})

test('failed over: why not there, and where instead', async () => {
  await open({ providers: failing(new ProviderError('capacity', 'no room for this size', { effect: 'none' }), 1) })
  const id = await lease()
  await h.pass(2000)
  expect(await told('lease', id)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  launch on one  [launch-for-lease]
                  of       worker w1, provider one
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  launch given up, the lease goes to the next placement  [launch-capacity]
                  because  code capacity · message no room for this size · attempt 0 · phase launching · doubt false · faults 0
                  unless   The next placement is tried at once; the shape is remembered as exhausted there, with decay.
    08:00:00.000  launch on two  [launch-for-lease]
                  of       worker w2, provider two
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [{"provider":"one","reason":"it had no capacity for this size: no room for this size","until":1800000030000}] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:00.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    "
  `)
})

test('retried: the same id, and when again', async () => {
  await open({
    pools: [poolConfig({ placement: ['one'] })],
    providers: failing(new ProviderError('transient', 'reset by peer'), 1),
  })
  const id = await lease()
  await h.pass(5000)
  expect(await told('lease', id)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  launch on one  [launch-for-lease]
                  of       worker w1, provider one
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  again in 250 ms  [launch-retry]
                  because  code transient · effect possible · message reset by peer · attempt 1
                  unless   The call succeeds, or its deadline passes.
    08:00:00.250  the provider has the worker  [worker-launched]
                  because  attempt 2 · afterMs 250
                  unless   It is not seen ready before its start deadline.
    08:00:00.260  ready, the lease has its worker  [lease-active]
                  because  afterMs 260
                  unless   The lease is released or expires, or the worker ends.
    "
  `)
})

test('lost: gone without our doing', async () => {
  await open()
  const id = await lease()
  await h.pass(2000)
  const worker = h.engine.leases.get(id)?.worker_id ?? ''
  h.provider('one').vendor.workers.delete(worker)
  await h.pass(120_000)
  expect(await told('worker', worker)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  launch on one  [launch-for-lease]
                  of       lease l1, provider one, pool ci
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:00.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    08:00:30.000  terminate: lost: gone without our doing  [worker-lost]
                  because  phase leased · by list and inspect · listedAt 1800000030000 · inspectedAt 1800000030000
                  unless   Whoever removed it leaves it: the provider's own records may name them.
    08:00:30.000  closed: lost  [worker-gone]
                  because  reason lost: gone without our doing · ageMs 30000 · by terminate
    "
  `)
})

test('expired: the lease was not renewed', async () => {
  await open()
  const id = await lease({ ttlMs: 10_000 })
  await h.pass(30_000)
  expect(await told('lease', id)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  launch on one  [launch-for-lease]
                  of       worker w1, provider one
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:00.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    08:00:10.010  terminate: the lease was not renewed in time  [lease-expired]
                  because  phase leased · ttlMs 10000 · expiresAt 1800000010010
                  unless   A renewal before that time.
    "
  `)
})

test('orphan: our tag and no record', async () => {
  await open()
  const id = await lease()
  await h.pass(1000)
  const known = [...h.provider('one').vendor.workers.values()][0]
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(10_000)
  const stray = `w${'7'.repeat(26)}`
  if (known === undefined) throw new Error('no worker was made')
  const spec = { ...known.spec, id: stray, tags: { ...known.spec.tags, 'muster-worker': stray } }
  h.provider('one').vendor.workers.set(stray, { ...known, spec, phase: 'running', visibleAt: 0 })
  await h.pass(600_000)
  expect(h.provider('one').vendor.workers.size).toBe(0)
  expect(await told('worker', stray)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:30.000  removed in 120000 ms  [orphan-quarantined]
                  of       provider one, pool ci
                  because  phase running · epoch 1 · record none
                  unless   It ends by itself.
    08:02:30.000  terminate: no record knows it  [orphan-removed]
                  because  firstSeen 1800000030000 · graceMs 120000
                  unless   A longer host.orphanGrace leaves more time to look at it.
    08:02:30.000  closed: gone  [orphan-gone]
    "
  `)
})
