/** What `muster why` says of an operator's decisions. */
import { afterEach, expect, test } from 'vitest'
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
const lease = async (): Promise<string> => (await h.engine.leases.request(leaseRequest())).id

const ann = { principal: 'ann', reason: 'new image' }

test('paused: the lease waits for the pool, and has its worker once that is resumed', async () => {
  await open()
  await h.engine.pools.pause('ci', ann)
  const id = await lease()
  await h.pass(1000)
  await h.engine.pools.resume('ci', { principal: 'bob' })
  await h.pass(1000)
  expect(await told('lease', id)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  waits: the pool is paused by ann: new image  [pool-paused]
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0
                  unless   The pool is resumed.
    08:00:01.000  launch on one  [launch-for-lease]
                  of       worker w1, provider one
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:01.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:01.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    "
  `)
  expect(await told('pool', 'ci')).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  launches nothing and hands nothing out; leases wait, leased workers go on  [pool-pause]
                  because  principal ann · reason new image
                  unless   Resume the pool.
    08:00:00.000  waits for a worker  [lease-queued]
                  of       lease l1
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  waits: the pool is paused by ann: new image  [pool-paused]
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0
                  unless   The pool is resumed.
    08:00:01.000  works as its configuration says  [pool-resume]
                  because  principal bob · before paused
                  unless   Pause it or drain it.
    08:00:01.000  launch on one  [launch-for-lease]
                  of       lease l1, worker w1, provider one
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:01.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:01.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    "
  `)
})

test('disabled: the next placement, or a wait where there is none', async () => {
  await open()
  await h.engine.providers.disable('one', ann)
  const id = await lease()
  await h.pass(1000)
  await h.engine.providers.disable('two', { principal: 'bob' })
  const second = await lease()
  await h.pass(1000)
  expect(await told('lease', id)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 0 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:00.000  launch on two  [launch-for-lease]
                  of       worker w1, provider two
                  because  min 0 · max 10 · warm 0 · workers 0 · leaving 0 · idle 0 · passedOver [{"provider":"one","reason":"it is disabled by ann: new image"}] · mode hold
                  unless   An idle worker of this shape, or another state of the providers before it.
    08:00:00.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:00.010  ready, the lease has its worker  [lease-active]
                  because  afterMs 10
                  unless   The lease is released or expires, or the worker ends.
    "
  `)
  expect(await told('lease', second)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:01.000  waits for a worker  [lease-queued]
                  of       pool ci
                  because  before 0 · workers 1 · max 10 · principal tester
                  unless   A worker of the pool is free for it, or it waits longer than the pool lets it.
    08:00:01.000  waits: one: it is disabled by ann: new image; two: it is disabled by bob  [wait-for-provider]
                  because  passedOver [{"provider":"one","reason":"it is disabled by ann: new image"},{"provider":"two","reason":"it is disabled by bob"}]
                  unless   A provider of the pool gets ready, is enabled, or has finished a launch.
    "
  `)
})

test('forgotten: who closed the record, and what becomes of what is left', async () => {
  await open()
  await lease()
  await h.pass(1000)
  const worker = [...h.engine.workers.live()][0]?.id ?? ''
  h.provider('one').setState('failed', { reason: 'its config is refused' })
  await h.engine.workers.forget(worker, { principal: 'ann', reason: 'its node burned down' })
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
    08:00:01.000  closed: disowned  [worker-forgotten]
                  because  reason its node burned down · ageMs 1000 · principal ann · phase leased · evidence provider one is failed · lease ends
                  unless   Its provider confirms its end before. If the vendor still has it, it is removed as an orphan.
    "
  `)
})

test('kept: why it still lives, and until when', async () => {
  await open()
  const id = await lease()
  await h.pass(1000)
  const worker = h.engine.leases.get(id)?.worker_id ?? ''
  const keep = { ms: 60_000, runId: `r${'7'.repeat(26)}`, outcome: 'failed' }
  await h.engine.leases.release(id, { reason: 'its run ended: failed', keep })
  await h.pass(100_000)
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
    08:00:01.000  the lease ends, its worker is free  [lease-released]
                  because  reason its run ended: failed · state active · heldMs 990
    08:00:01.000  kept for a look: its run failed  [keep-failed]
                  of       run r1, provider one
                  because  outcome failed · keepMs 60000 · until 1800000061000 · expiresAt 1800003600000
                  unless   An operator terminates it before.
    08:01:01.000  terminate: its run r1 ended: failed  [keep-over]
                  because  phase draining · keptFor r1 · until 1800000061000
                  unless   A longer keepFailed, at most for its lifetime.
    08:01:01.000  closed: gone  [worker-gone]
                  because  reason its run r1 ended: failed · ageMs 61000 · by terminate
    "
  `)
})

test('cordoned: nobody is handed it', async () => {
  await open({ pools: [poolConfig({ work: 'hold', scale: { warm: 1 } })], providers: [{ name: 'one' }] })
  await h.pass(1000)
  const worker = [...h.engine.workers.live()][0]?.id ?? ''
  await h.engine.workers.cordon(worker, { principal: 'ann', reason: 'its disk is slow' })
  await h.pass(1000)
  await h.engine.workers.uncordon(worker, { principal: 'bob' })
  expect(await told('worker', worker)).toMatchInlineSnapshot(`
    "
    2027-01-15
    08:00:00.000  launch on one  [launch-warm]
                  of       provider one, pool ci
                  because  min 0 · max 10 · warm 1 · workers 0 · leaving 0 · idle 0 · total 0 · coming 0 · passedOver []
                  unless   Smaller scale.warm and scale.min.
    08:00:00.000  the provider has the worker  [worker-launched]
                  because  attempt 1 · afterMs 0
                  unless   It is not seen ready before its start deadline.
    08:00:00.010  ready, waits for a lease  [worker-idle]
                  because  afterMs 10
                  unless   A lease takes it, or it is idle for longer than its pool keeps it.
    08:00:01.000  it is handed out to nobody, and left alone until its lifetime  [worker-cordon]
                  because  principal ann · reason its disk is slow · phase idle · expiresAt 1800003600000
                  unless   Uncordon it.
    08:00:02.000  it is handed out again  [worker-uncordon]
                  because  principal bob · phase idle · expiresAt 1800003600000
                  unless   Cordon it.
    "
  `)
})
