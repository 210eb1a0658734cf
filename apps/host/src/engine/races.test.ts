/** Things that meet in one turn, and effects that come late: the compare-and-set and the doubts that invariants 2 and 3 hang on. */
import { afterEach, describe, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<Harness> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }], ...options })
  return h
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const operator = { reason: 'maintenance', principal: 'ann', force: false }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const phases = (): string[] => [...h.engine.workers.live()].map((worker) => worker.phase).sort()

describe('assign and terminate of one idle worker', () => {
  // How many turns of the loop lie between the two decides which write comes first, and whether they share a commit.
  test.each([0, 1, 2, 3, 4])('%i turns apart: exactly one of them happens', async (turns) => {
    await open({ pools: [poolConfig({ uses: 2, scale: { max: 1, warm: 1 } })] })
    await h.pass(100)
    const [worker] = [...h.engine.workers.live()]
    if (worker === undefined) throw new Error('no worker')
    const asked = h.engine.leases.request(leaseRequest())
    for (let i = 0; i < turns; i++) await turn()
    const ended = h.engine.workers.terminate(worker.id, operator).then(
      () => true,
      (error: { code: string }) => {
        expect(error.code).toBe('leased')
        return false
      },
    )
    const { id } = await asked
    await h.settle()
    const record = await h.engine.workers.find(worker.id)
    if (await ended) {
      expect(record).toMatchObject({ lease_id: null })
      expect(['terminating', 'terminated']).toContain(record?.phase)
    } else expect(record).toMatchObject({ phase: 'leased', lease_id: id })
    await h.pass(1000)
    const lease = h.engine.leases.get(id)
    expect(lease?.state).toBe('active')
    expect(h.engine.workers.get(lease?.worker_id ?? '')).toMatchObject({ phase: 'leased', lease_id: id })
    expect([...h.provider().vendor.workers.keys()]).toEqual([lease?.worker_id])
  })

  test('in one commit: the first counts, the other sees it', async () => {
    await open({ pools: [poolConfig({ scale: { max: 1, warm: 1 } })] })
    await h.pass(100)
    const [worker] = [...h.engine.workers.live()]
    const id = worker?.id ?? ''
    const both = await Promise.allSettled([
      h.engine.workers.terminate(id, operator),
      h.engine.workers.terminate(id, { ...operator, principal: 'bob' }),
      h.engine.workers.confirmLogEnd(id),
    ])
    expect(both.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    expect((await h.engine.journal.why('worker', id)).filter((row) => row.rule === 'operator-terminate')).toHaveLength(1)
  })

  test('of one that is retired while it is asked for', async () => {
    await open({ pools: [poolConfig({ uses: 5, scale: { max: 2, idleMs: 5000 } })] })
    const first = await h.engine.leases.request(leaseRequest())
    await h.pass(100)
    await h.engine.leases.release(first.id, { reason: 'done' })
    await h.settle()
    expect(phases()).toEqual(['idle'])
    const asked = h.engine.leases.request(leaseRequest())
    // The idle time is over in the same turn.
    h.clock.step(h.clock.now() + 5000)
    const { id } = await asked
    await h.pass(1000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(phases().filter((phase) => phase === 'leased')).toHaveLength(1)
  })
})

test('a renewal in the turn in which the lease would expire counts', async () => {
  await open()
  const { id } = await h.engine.leases.request(leaseRequest({ ttlMs: 10_000 }))
  await h.pass(100)
  const due = h.engine.leases.get(id)?.expires_at ?? 0
  while (h.clock.now() < due - 1) h.clock.step(due - 1)
  const renewed = h.engine.leases.renew(id)
  h.clock.step(due)
  await renewed
  await h.pass(1000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
})

test.each([0, 1, 2, 3, 4, 5])('a lease that is given back %i turns after it was asked for leaves no worker', async (turns) => {
  await open()
  const { id } = await h.engine.leases.request(leaseRequest())
  for (let i = 0; i < turns; i++) await turn()
  await h.engine.leases.release(id, { reason: 'not needed' })
  await h.pass(5000)
  expect([phases(), h.provider().vendor.workers.size]).toEqual([[], 0])
})

test('release, expiry and loss in one turn: the lease ends once', async () => {
  await open()
  const { id } = await h.engine.leases.request(leaseRequest({ ttlMs: 10_000 }))
  await h.pass(100)
  const [[worker, one] = []] = [...h.provider().vendor.workers]
  if (one !== undefined) one.phase = 'lost'
  h.provider().announce(worker ?? '')
  const released = h.engine.leases.release(id, { reason: 'done' })
  h.clock.step(h.clock.now() + 10_000)
  await released
  await h.pass(1000)
  const ends = (await h.engine.journal.why('lease', id)).filter((row) =>
    /^(lease-released|lease-expired|worker-lost)$/.test(row.rule),
  )
  expect(ends).toHaveLength(1)
  expect(h.provider().vendor.workers.size).toBe(0)
})

test('a worker that was seen is gone as soon as nobody shows it any more, however long a launch may stay unseen', async () => {
  await open({ providers: [{ name: 'one', capabilities: { watch: false, visibility: { launchMs: 50_000, goneMs: 0 } } }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(2000)
  expect(phases()).toEqual(['leased'])
  const { terminate } = h.provider()
  h.provider().terminate = async (...how) => {
    await terminate(...how)
    return { state: 'terminating' }
  }
  await h.engine.leases.release(id, { reason: 'enough' })
  await h.pass(10_000)
  expect(phases()).toEqual([])
})

describe('a launch whose effect comes late', () => {
  const slow = (given: Partial<Fault>): HarnessOptions['providers'] => [
    {
      name: 'one',
      capabilities: { visibility: { launchMs: 4000, goneMs: 0 } },
      fault: (method) => (method === 'launch' ? { delayMs: 3000, ...given } : undefined),
    },
  ]

  test('after its worker was given up: it is found and removed before the record closes', async () => {
    await open({ providers: slow({ late: true }) })
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(500)
    const worker = h.engine.leases.get(id)?.worker_id ?? ''
    await h.engine.leases.release(id, { reason: 'not needed' })
    await h.pass(1000)
    expect(phases()).toEqual(['terminating'])
    await h.pass(2500)
    expect(h.provider().vendor.made).toEqual([worker])
    await h.pass(20_000)
    expect(phases()).toEqual([])
    expect(h.provider().vendor.workers.size).toBe(0)
    expect((await h.engine.journal.why('worker', worker)).map((row) => row.rule)).not.toContain('orphan-quarantined')
  })

  test('from the host before this one, after the repeat of it was over: likewise', async () => {
    let delayed = true
    await open({
      providers: [
        {
          name: 'one',
          capabilities: { visibility: { launchMs: 4000, goneMs: 0 } },
          fault: (method) => (method === 'launch' && delayed ? { delayMs: 3000 } : undefined),
        },
      ],
    })
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(500)
    const worker = h.engine.leases.get(id)?.worker_id ?? ''
    delayed = false
    await h.crash()
    await h.pass(500)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(1000)
    expect(phases()).toEqual(['terminating'])
    await h.pass(30_000)
    expect(h.provider().vendor.made).toEqual([worker, worker])
    expect(phases()).toEqual([])
    expect(h.provider().vendor.workers.size).toBe(0)
    expect((await h.engine.journal.why('worker', worker)).map((row) => row.rule)).not.toContain('orphan-quarantined')
  })

  test('from the host before this one, cancelled before it could be repeated: it is terminated all the same', async () => {
    await open()
    h.crashAt('effect-done-answer-unread')
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(500)
    expect(h.provider().vendor.workers.size).toBe(1)
    h.provider().setState('failed')
    await h.crash()
    await h.engine.leases.release(id, { reason: 'not needed' })
    await h.pass(10_000)
    expect(phases()).toEqual(['terminating'])
    h.provider().setState('ready')
    await h.pass(10_000)
    expect(phases()).toEqual([])
    expect(h.provider().vendor.workers.size).toBe(0)
  })
})

test('a write in the same commit sees what the one before it did', async () => {
  await open({ pools: [poolConfig({ scale: { max: 5 } })] })
  const leases = await Promise.all(Array.from({ length: 5 }, () => h.engine.leases.request(leaseRequest())))
  await h.pass(100)
  await Promise.all(
    leases.flatMap(({ id }) => [
      h.engine.leases.renew(id),
      h.engine.leases.release(id, { reason: 'a' }),
      h.engine.leases.release(id, { reason: 'b' }),
    ]),
  )
  for (const { id } of leases) expect(await h.engine.leases.find(id)).toMatchObject({ end: 'released', end_reason: 'a' })
  await h.pass(1000)
  expect(phases()).toEqual([])
})

test('a provider says nothing of the workers of another, whatever it names', async () => {
  await open({ providers: [{ name: 'one' }, { name: 'two' }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  const [[worker, ours] = []] = [...h.provider('one').vendor.workers]
  if (worker === undefined || ours === undefined) throw new Error('no worker')
  const spec = { ...ours.spec, tags: { ...ours.spec.tags, 'muster-provider': 'two' } }
  h.provider('two').vendor.workers.set(worker, { ...ours, spec, phase: 'lost' })
  h.provider('two').announce(worker)
  await h.pass(1000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
  expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'leased', observed_phase: 'running' })
})
