/** What is true after crashes, and when lists lie, lag or fail. */
import { ProviderError, type WorkerPage } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import { killPoints } from './killpoint.ts'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import { type Fault, newVendor } from './testing/vendor.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<Harness> {
  h = await openHarness({ pools: [poolConfig({ scale: { max: 30 } })], providers: [{ name: 'one' }], ...options })
  return h
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function lease(count = 1): Promise<string[]> {
  const leases = await Promise.all(Array.from({ length: count }, () => h.engine.leases.request(leaseRequest())))
  await h.pass(200)
  return leases.map(({ id }) => id)
}
const phases = (): string[] => [...h.engine.workers.live()].map((worker) => worker.phase).sort()
const ids = (): string[] => [...h.engine.workers.live()].map((worker) => worker.id).sort()
const exist = (): string[] => [...h.provider().vendor.workers.keys()].sort()
const rulesOf = async (id: string): Promise<string[]> => (await h.engine.journal.why('worker', id)).map((row) => row.rule)

describe('after a crash', () => {
  const mine = killPoints.filter((point) => !point.startsWith('run-') && !point.startsWith('orphan-'))
  test.each(mine)('at %s there is one worker per record, and the lease is served', async (point) => {
    await open()
    h.crashAt(point)
    const { id } = await h.engine.leases.request(leaseRequest({ ofRun: 'r1', command: { argv: ['true'] } }))
    await h.pass(1000)
    if (!h.crashed) {
      const [[worker, one] = []] = [...h.provider().vendor.workers]
      if (one !== undefined) Object.assign(one, { phase: 'exited', exit: { code: 0, reason: 'exited' } })
      h.provider().announce(worker ?? '')
      await h.pass(1000)
    }
    const finish = async (): Promise<void> => {
      const worker = h.engine.leases.get(id)?.worker_id
      if (worker !== undefined && worker !== null) void h.engine.workers.confirmLogEnd(worker).catch(() => {})
      await h.settle()
      if (!h.crashed) void h.engine.leases.release(id, { reason: 'over' }).catch(() => {})
      await h.pass(3000)
    }
    if (!h.crashed) await finish()
    expect(h.crashed).toBe(true)
    const specs = new Map([...h.provider().vendor.workers].map(([worker, one]) => [worker, JSON.stringify(one.spec)]))
    await h.crash()
    await h.pass(5000)
    expect(exist()).toEqual(ids())
    expect(h.provider().vendor.made).toHaveLength(1)
    for (const [worker, one] of h.provider().vendor.workers)
      expect(specs.get(worker) ?? JSON.stringify(one.spec)).toBe(JSON.stringify(one.spec))
    if (h.engine.leases.get(id) !== undefined) {
      expect(h.engine.leases.get(id)?.state).toBe('active')
      await finish()
    }
    await h.pass(5000)
    expect(exist()).toEqual([])
    expect(ids()).toEqual([])
  })

  test('leased workers are the same, and their leases live on though nobody could renew them', async () => {
    await open()
    const leases = await lease(20)
    const before = ids()
    await h.crash(700_000)
    await h.pass(5000)
    expect(ids()).toEqual(before)
    expect(exist()).toEqual(before)
    await Promise.all(leases.map((id) => h.engine.leases.renew(id)))
    await h.pass(300_000)
    expect(phases()).toEqual(Array.from({ length: 20 }, () => 'leased'))
  })

  test('the time to get ready is counted anew: nobody watched meanwhile', async () => {
    await open({ providers: [{ name: 'one', readyMs: 150_000 }] })
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.settle()
    await h.crash(120_000)
    await h.pass(40_000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
    expect(h.provider().vendor.made).toHaveLength(1)
  })

  test('a worker whose provider is no longer configured stays, and is named', async () => {
    await open({ providers: [{ name: 'one' }, { name: 'two' }], pools: [poolConfig({ placement: ['two'] })] })
    await lease()
    await h.engine.store.write((tx) => tx.updateTable('workers').set({ provider: 'old' }).execute())
    await h.crash()
    expect(h.engine.conditions.list()).toMatchObject([
      { scope: 'provider', name: 'old', type: 'missing', message: expect.stringContaining('watches or ends its last worker') },
    ])
    expect(h.engine.providerOf({ provider: 'old' })).toBeUndefined()
    expect(phases()).toEqual(['leased'])
  })

  test('the workers of a pool that is no longer configured end when their leases do', async () => {
    const pools = [poolConfig(), poolConfig({ name: 'old', scale: { warm: 1 } })]
    await open({ pools })
    const { id } = await h.engine.leases.request(leaseRequest({ pool: 'old' }))
    await h.pass(1000)
    expect(phases()).toEqual(['idle', 'leased'])
    pools.pop()
    await h.crash()
    await h.pass(1000)
    expect(phases()).toEqual(['leased'])
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(1000)
    expect(phases()).toEqual([])
  })

  test('a lease that does not open with the key fails instead of blocking its pool', async () => {
    await open({ pools: [poolConfig({ scale: { max: 1 } })] })
    const [first = ''] = await lease()
    const [second = ''] = await lease()
    await h.engine.store.write((tx) =>
      tx.updateTable('leases').set({ request_sealed: 'AAAA' }).where('id', '=', second).execute(),
    )
    await h.crash()
    await h.pass(1000)
    expect(await h.engine.leases.find(second)).toMatchObject({ end: 'failed', end_reason: expect.stringContaining('seal key') })
    expect(h.engine.leases.get(first)?.state).toBe('active')
    expect(h.reports.splice(0).map((report) => report.message)).toContain('a lease cannot be read')
  })
})

describe('a list', () => {
  const lies: [string, (page: WorkerPage) => WorkerPage][] = [
    ['answers none', (page) => ({ ...page, workers: [] })],
    ['answers half', (page) => ({ ...page, workers: page.workers.slice(0, 10) })],
    ['is blind', (page) => ({ ...page, workers: [], blind: ['m1'] })],
    ['never comes to its end', (page) => ({ ...page, workers: [], next: '7' })],
  ]
  test.each(lies)('that %s ends no lease and launches nothing while inspect still sees the workers', async (_name, page) => {
    await open({ providers: [{ name: 'one', fault: (method) => (method === 'list' ? { page } : undefined) }] })
    await lease(20)
    const before = ids()
    await h.pass(200_000)
    expect(ids()).toEqual(before)
    expect(phases()).toEqual(Array.from({ length: 20 }, () => 'leased'))
    expect(h.provider().vendor.made).toHaveLength(20)
  })

  test('that fails ends nothing, and says so after a while', async () => {
    let error: ProviderError | undefined
    await open({
      providers: [{ name: 'one', fault: (method) => (method === 'list' && error !== undefined ? { error } : undefined) }],
    })
    await lease(3)
    error = new ProviderError('auth', 'no right to list', { hint: 'Give it the right.' })
    await h.pass(100_000)
    expect(h.engine.conditions.list()).toMatchObject([{ type: 'list-failing', hint: 'Give it the right.' }])
    expect(phases()).toEqual(['leased', 'leased', 'leased'])
    error = undefined
    await h.pass(60_000)
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('in which a part is blind says nothing of the workers there, and of the others all', async () => {
    let blind: string[] | undefined
    const page = (given: WorkerPage): WorkerPage => (blind === undefined ? given : { ...given, blind })
    await open({ providers: [{ name: 'one', fault: (method) => (method === 'list' ? { page } : undefined) }] })
    const [first = '', second = ''] = await lease(2)
    ;[...h.provider().vendor.workers].forEach(([id, worker], at) => {
      worker.part = `m${at}`
      h.provider().announce(id)
    })
    await h.pass(100)
    const partOf = (id: string): string | null | undefined => h.engine.workers.get(h.engine.leases.get(id)?.worker_id ?? '')?.part
    const [onFirst, onSecond] = partOf(first) === 'm0' ? [first, second] : [second, first]
    blind = ['m0']
    h.provider().vendor.workers.clear()
    await h.pass(70_000)
    expect(h.engine.leases.get(onFirst)?.state).toBe('active')
    expect(await h.engine.leases.find(onSecond)).toMatchObject({ end: 'lost' })
    blind = undefined
    await h.pass(40_000)
    expect(await h.engine.leases.find(onFirst)).toMatchObject({ end: 'lost' })
  })

  test('shows a loss: list and inspect agree, the lag is over, and the lease learns of it', async () => {
    await open({ providers: [{ name: 'one', capabilities: { visibility: { launchMs: 50_000, goneMs: 0 } } }] })
    const [id = ''] = await lease()
    const worker = h.engine.leases.get(id)?.worker_id ?? ''
    h.provider().vendor.workers.clear()
    await h.pass(45_000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    await h.pass(60_000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'lost' })
    expect(await h.engine.workers.find(worker)).toMatchObject({ end: 'lost', phase: 'terminated' })
    expect(await rulesOf(worker)).toContain('worker-lost')
  })

  test('repairs what the watch lost', async () => {
    await open()
    const [id = ''] = await lease()
    for (const worker of h.provider().vendor.workers.values())
      Object.assign(worker, { phase: 'exited', exit: { code: 1, reason: 'exited' } })
    await h.engine.reconcile()
    await h.pass(100)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'failed' })
  })

  test('of others’ workers changes nothing of ours', async () => {
    await open()
    const [id = ''] = await lease()
    const [[worker, ours] = []] = [...h.provider().vendor.workers]
    if (worker === undefined || ours === undefined) throw new Error('no worker')
    const { spec } = ours
    ours.spec = { ...spec, tags: { ...spec.tags, 'muster-owner': 'somebody-else' } }
    ours.phase = 'lost'
    h.provider().announce(worker)
    await h.pass(1000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    ours.phase = 'running'
  })
})

test.each([true, false])('a launch that is not seen yet is not missed (watch: %s)', async (watch) => {
  const capabilities = { watch, visibility: { launchMs: 5000, goneMs: 0 } }
  await open({ providers: [{ name: 'one', lagMs: 4000, readyMs: 4500, capabilities }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(10_000)
  expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
  expect(h.provider().vendor.made).toHaveLength(1)
})

describe('a watch', () => {
  test('that breaks is opened again, ever more rarely, with a list after each time', async () => {
    let opened = 0
    await open()
    const whole = h.provider().watch
    h.provider().watch = () => {
      opened += 1
      throw new ProviderError('transient', 'cut off', { retryAfterMs: 50 })
    }
    await h.crash()
    await h.pass(60_000)
    expect(opened).toBeGreaterThan(4)
    expect(opened).toBeLessThan(20)
    expect(h.provider().vendor.calls.filter((call) => call.method === 'list').length).toBeGreaterThan(4)
    h.provider().watch = whole
    await h.pass(30_000)
    const before = opened
    await h.pass(60_000)
    expect(opened).toBe(before)
  })

  test('that ends at its deadline is no fault, one that ends at once is', async () => {
    const openedAt: number[] = []
    let lasts = 20_000
    await open()
    const next = async (): Promise<IteratorReturnResult<undefined>> => {
      openedAt.push(h.clock.now())
      await new Promise<void>((resolve) => void h.clock.after(lasts, resolve))
      if (lasts > 0) throw new ProviderError('deadline', 'its time is over')
      return { done: true, value: undefined }
    }
    h.provider().watch = () => ({ [Symbol.asyncIterator]: () => ({ next }) })
    await h.crash()
    await h.pass(61_000)
    expect(openedAt.map((at) => at - (openedAt[0] ?? 0))).toEqual([0, 20_000, 40_000, 60_000])
    lasts = 0
    await h.pass(20_000)
    const before = openedAt.length
    await h.pass(10_000)
    expect(openedAt.length - before).toBeLessThan(5)
  })
})

test('a worker that drains is not missed when it is lost, nor its exit', async () => {
  await open()
  const runs = await Promise.all(['r1', 'r2'].map((ofRun) => h.engine.leases.request(leaseRequest({ ofRun }))))
  await h.pass(200)
  await Promise.all(runs.map(({ id }) => h.engine.leases.release(id, { reason: 'over' })))
  await h.pass(100)
  expect(phases()).toEqual(['draining', 'draining'])
  const [[first, one] = [], [second, two] = []] = [...h.provider().vendor.workers]
  if (one === undefined || two === undefined) throw new Error('no workers')
  one.phase = 'lost'
  two.phase = 'exited'
  two.exit = { code: 1, reason: 'exited' }
  for (const id of [first, second]) h.provider().announce(id ?? '')
  await h.pass(1000)
  expect(phases()).toEqual(['draining'])
  expect(await h.engine.workers.find(first ?? '')).toMatchObject({ end: 'lost' })
  expect(h.engine.workers.get(second ?? '')?.exit).toContain('"code":1')
})

describe('a worker without a record', () => {
  const GRACE = 120_000
  function plant(count: number, tags: Record<string, string> = {}): string[] {
    return Array.from({ length: count }, (_, at) => {
      const id = `w${String(at).padStart(26, '0')}`
      const all = {
        'muster-owner': owner,
        'muster-provider': 'one',
        'muster-pool': 'ci',
        'muster-worker': id,
        'muster-epoch': '1',
        ...tags,
      }
      h.provider().vendor.workers.set(id, {
        spec: { id, tags: all, work: { mode: 'hold' } },
        phase: 'running',
        ready: true,
        visibleAt: 0,
      })
      return id
    })
  }

  test('is quarantined, then removed', async () => {
    await open()
    const [id = ''] = plant(1)
    await h.engine.reconcile()
    await h.pass(GRACE - 10_000)
    expect(exist()).toEqual([id])
    await h.pass(11_000)
    expect(exist()).toEqual([])
    expect(await rulesOf(id)).toEqual(['orphan-quarantined', 'orphan-removed', 'orphan-gone'])
    expect(await h.engine.store.read.selectFrom('orphans').selectAll().execute()).toEqual([])
  })

  test.each(['orphan-found', 'orphan-removing'] as const)('is removed after a crash at %s too', async (point) => {
    await open()
    plant(1)
    h.crashAt(point)
    await h.pass(GRACE + 40_000)
    expect(h.crashed).toBe(true)
    await h.crash()
    await h.pass(GRACE + 40_000)
    expect(exist()).toEqual([])
  })

  test('that ends by itself in quarantine is forgotten', async () => {
    await open()
    const [id = ''] = plant(1)
    await h.engine.reconcile()
    h.provider().vendor.workers.clear()
    await h.pass(40_000)
    expect(await rulesOf(id)).toEqual(['orphan-quarantined', 'orphan-gone'])
  })

  test('of another alias or owner is not ours', async () => {
    await open()
    plant(1, { 'muster-provider': 'two' })
    await h.pass(2 * GRACE)
    expect(exist()).toHaveLength(1)
    expect(h.provider().vendor.calls.some((call) => call.method === 'terminate')).toBe(false)
  })

  test('among suspiciously many is kept, until an operator says otherwise', async () => {
    await open()
    await lease(10)
    plant(6)
    await h.pass(GRACE + 60_000)
    expect(exist()).toHaveLength(16)
    expect(h.engine.conditions.list()).toMatchObject([{ type: 'orphans-held', message: expect.stringContaining('6 workers') }])
    expect(await h.engine.reclaimOrphans('one')).toBe(6)
    await h.pass(1000)
    expect(exist()).toHaveLength(10)
    await h.pass(60_000)
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('but with a closed one is removed as well, once its declared after-image is over', async () => {
    await open({ providers: [{ name: 'one', capabilities: { visibility: { launchMs: 0, goneMs: 60_000 } } }] })
    const [id = ''] = await lease()
    const [[worker, ghost] = []] = [...h.provider().vendor.workers]
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(2000)
    expect(exist()).toEqual([])
    if (worker === undefined || ghost === undefined) throw new Error('no worker')
    h.provider().vendor.workers.set(worker, ghost)
    await h.pass(50_000)
    expect(await rulesOf(worker)).not.toContain('orphan-quarantined')
    await h.pass(200_000)
    expect(exist()).toEqual([])
    expect(await rulesOf(worker)).toContain('orphan-removed')
  })

  test('that resists is asked again, and named', async () => {
    let broken = true
    const fault = (method: string): Fault | undefined =>
      method === 'terminate' && broken ? { error: new ProviderError('transient', 'busy') } : undefined
    await open({ providers: [{ name: 'one', fault, vendor: newVendor() }] })
    plant(1)
    await h.pass(GRACE + 40_000)
    expect(h.engine.conditions.list()).toMatchObject([{ type: 'orphan-stays' }])
    broken = false
    await h.pass(80_000)
    expect(exist()).toEqual([])
    expect(h.engine.conditions.list()).toEqual([])
  })
})

test('no term, no new work: the queue waits until the host may act', async () => {
  let may = false
  await open({ engine: { fence: { epoch: () => 3, mayAct: () => may } } })
  const [id = ''] = await lease()
  expect(h.engine.leases.get(id)?.state).toBe('queued')
  may = true
  await h.pass(1000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
  expect([...h.engine.workers.live()][0]?.epoch).toBe(3)
})

test('stop lets open calls settle, aborts what takes too long, and leaves every worker', async () => {
  let slow = false
  await open({ providers: [{ name: 'one', fault: (method) => (slow && method === 'launch' ? { delayMs: 60_000 } : undefined) }] })
  await lease(2)
  slow = true
  await lease(1)
  const stopped = h.engine.stop()
  await h.pass(2000)
  await stopped
  expect(exist()).toHaveLength(2)
  expect(phases()).toEqual(['launching', 'leased', 'leased'])
  slow = false
  await h.crash()
  await h.pass(2000)
  expect(phases()).toEqual(['leased', 'leased', 'leased'])
  expect(exist()).toEqual(ids())
})
