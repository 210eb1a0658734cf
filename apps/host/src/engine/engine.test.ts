/** Leases and pools as a client sees them, over a scripted vendor and a clock turned by hand. */
import { afterEach, describe, expect, test } from 'vitest'
import type { JournalRow, LeaseRequest } from './model.ts'
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

const rules = (rows: JournalRow[]): string[] => rows.map((row) => row.rule)
const live = (): string[] => [...h.engine.workers.live()].map((worker) => worker.phase).sort()

async function ask(given: Partial<LeaseRequest> = {}, ms = 100): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest(given))
  await h.pass(ms)
  return id
}

describe('a cold lease', () => {
  test('intent, launch, ready, active, released, gone', async () => {
    await open()
    const id = await ask()
    const active = h.engine.leases.get(id)
    expect(active).toMatchObject({ state: 'active', tries: 0 })
    const worker = h.engine.workers.get(active?.worker_id ?? '')
    expect(worker).toMatchObject({ phase: 'leased', lease_id: id, observed_phase: 'running' })
    expect(h.provider().vendor.workers.size).toBe(1)
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(100)
    expect(h.provider().vendor.workers.size).toBe(0)
    expect(live()).toEqual([])
    expect(await h.engine.workers.find(worker?.id ?? '')).toMatchObject({ phase: 'terminated', end: 'gone', spec_sealed: null })
    const all = ['launch-for-lease', 'worker-launched', 'lease-active', 'lease-released', 'lease-over']
    expect(rules(await h.engine.journal.why('lease', id))).toEqual(['lease-queued', ...all])
    expect(rules(await h.engine.journal.why('worker', worker?.id ?? ''))).toEqual([...all, 'worker-gone'])
  })

  test('its spec and request hold no secret in the open, and the sealed ones go with their end', async () => {
    await open()
    const id = await ask({ requirements: { env: { TOKEN: 'very-secret' } } })
    const rows = async (): Promise<string> =>
      JSON.stringify([
        await h.engine.store.read.selectFrom('workers').selectAll().execute(),
        await h.engine.store.read.selectFrom('leases').selectAll().execute(),
        await h.engine.journal.after(0, 500),
      ])
    expect(await rows()).not.toContain('very-secret')
    expect([...h.provider().vendor.workers.values()][0]?.spec.env).toEqual({ TOKEN: 'very-secret' })
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(100)
    expect(await h.engine.leases.find(id)).toMatchObject({ state: 'ended', end: 'released', request_sealed: null })
  })

  test('cancelled while its launch is open: the call ends, the worker is confirmed gone', async () => {
    await open({ providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { delayMs: 5000 } : undefined) }] })
    const id = await ask()
    expect(live()).toEqual(['launching'])
    await h.engine.leases.release(id, { reason: 'not needed', end: 'cancelled' })
    await h.pass(10)
    expect(live()).toEqual(['terminating'])
    await h.pass(3000)
    expect(live()).toEqual([])
    expect(h.provider().vendor.made).toEqual([])
  })

  test('cancelled before its launch was sent: nobody is called', async () => {
    await open({
      providers: [{ name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 50_000 } : undefined) }],
    })
    await ask()
    const second = await ask()
    const worker = h.engine.leases.get(second)?.worker_id ?? ''
    expect(h.engine.workers.get(worker)?.phase).toBe('launching')
    await h.engine.leases.release(second, { reason: 'not needed', end: 'cancelled' })
    await h.pass(10)
    expect(await h.engine.workers.find(worker)).toMatchObject({ phase: 'failed', end: 'never-made' })
    expect(h.provider().vendor.calls.filter((call) => call.id === worker)).toEqual([])
  })

  test('a pool at its maximum serves leases in the order they came', async () => {
    await open({ pools: [poolConfig({ scale: { max: 1 } })] })
    const ids = [await ask(), await ask(), await ask()]
    expect(ids.map((id) => h.engine.leases.get(id)?.state)).toEqual(['active', 'queued', 'queued'])
    expect(h.engine.pools.get('ci')).toMatchObject({ queued: 2, leases: 1, waiting: 'the pool is at its maximum of 1' })
    await h.engine.leases.release(ids[0] ?? '', { reason: 'done' })
    await h.pass(1000)
    expect(ids.map((id) => h.engine.leases.get(id)?.state)).toEqual([undefined, 'active', 'queued'])
    expect(rules(await h.engine.journal.why('lease', ids[1] ?? ''))).toContain('wait-for-room')
  })

  test('waits no longer than it may', async () => {
    await open({ pools: [poolConfig({ scale: { max: 1 } })] })
    await ask()
    const id = await ask({ queueTimeoutMs: 5000 })
    await h.pass(4800)
    expect(h.engine.leases.get(id)?.state).toBe('queued')
    await h.pass(200)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'failed', end_reason: 'no worker within 5000 ms' })
    expect(rules(await h.engine.journal.why('lease', id)).at(-1)).toBe('queue-timeout')
  })
})

describe('a lease in time', () => {
  test('expires unless renewed, and its worker ends with it', async () => {
    await open()
    const id = await ask({ ttlMs: 10_000 })
    await h.pass(9000)
    expect(await h.engine.leases.renew(id)).toMatchObject({ state: 'active' })
    await h.pass(9000)
    expect(live()).toEqual(['leased'])
    await h.pass(2000)
    expect(await h.engine.leases.find(id)).toMatchObject({ state: 'ended', end: 'expired' })
    expect(live()).toEqual([])
    await expect(h.engine.leases.renew(id)).rejects.toMatchObject({ code: 'ended' })
    await expect(h.engine.leases.renew('l-none')).rejects.toMatchObject({ code: 'not-found' })
  })

  test('cannot be renewed beyond the lifetime of its worker', async () => {
    await open({ pools: [poolConfig({ lifetimeMs: 20_000 })] })
    const id = await ask({ ttlMs: 15_000 })
    await h.pass(10_000)
    const renewed = await h.engine.leases.renew(id, { ttlMs: 60_000 })
    expect(renewed.expires_at).toBe(h.engine.workers.get(renewed.worker_id ?? '')?.expires_at)
    await h.pass(11_000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'expired' })
  })

  test('of a run lives until its worker’s lifetime', async () => {
    await open({ pools: [poolConfig({ lifetimeMs: 20_000 })] })
    const id = await ask({ ttlMs: 1000, ofRun: 'r1' })
    expect(h.engine.leases.ofRun('r1')?.id).toBe(id)
    await h.pass(19_000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    await h.pass(2000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'expired', end_reason: 'the worker reached its lifetime' })
    expect(h.engine.leases.ofRun('r1')).toBeUndefined()
    expect(rules(await h.engine.journal.why('lease', id)).at(-1)).toBe('worker-lifetime')
  })
})

describe('warm workers', () => {
  const warm = poolConfig({ scale: { warm: 2, max: 3 } })

  test('wait ready, are handed out at once, and are replaced', async () => {
    await open({ pools: [warm] })
    await h.pass(100)
    expect(live()).toEqual(['idle', 'idle'])
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.settle()
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(rules(await h.engine.journal.why('lease', id))).toEqual(['lease-queued', 'assign-idle'])
    await h.pass(100)
    expect(live()).toEqual(['idle', 'idle', 'leased'])
  })

  test('of another kind make room for a lease that needs one', async () => {
    await open({ pools: [poolConfig({ scale: { warm: 2, max: 2 } })] })
    await h.pass(100)
    const id = await ask({ requirements: { env: { OTHER: '1' } } })
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect((await h.engine.journal.why('pool', 'ci')).map((row) => row.rule)).toContain('make-room')
    await h.pass(100)
    expect(live()).toEqual(['idle', 'leased'])
  })

  test('serve several leases one after the other where the pool says so', async () => {
    await open({ pools: [poolConfig({ uses: 2, scale: { max: 1 } })] })
    const first = await ask()
    const worker = h.engine.leases.get(first)?.worker_id
    await h.engine.leases.release(first, { reason: 'done' })
    await h.pass(10)
    expect(live()).toEqual(['idle'])
    const second = await ask()
    expect(h.engine.leases.get(second)?.worker_id).toBe(worker)
    await h.engine.leases.release(second, { reason: 'done' })
    await h.pass(1000)
    expect(live()).toEqual([])
  })

  test('are not used again when discarded, and retire when idle for long', async () => {
    await open({ pools: [poolConfig({ uses: 9, scale: { max: 2, idleMs: 5000 } })] })
    const [first, second] = [await ask(), await ask()]
    await h.engine.leases.release(first, { reason: 'broken', discard: true })
    await h.engine.leases.release(second, { reason: 'done' })
    await h.pass(100)
    expect(live()).toEqual(['idle'])
    await h.pass(5000)
    expect(live()).toEqual([])
    expect((await h.engine.journal.why('pool', 'ci')).map((row) => row.rule)).toContain('idle-surplus')
  })

  test('are renewed before their lifetime ends, never in a lease', async () => {
    await open({ pools: [poolConfig({ lifetimeMs: 100_000, scale: { warm: 1, max: 3 } })] })
    await h.pass(1000)
    const [before] = [...h.engine.workers.live()].map((worker) => worker.id)
    await h.pass(90_000)
    const [after] = [...h.engine.workers.live()].map((worker) => worker.id)
    expect(live()).toEqual(['idle'])
    expect(after).not.toBe(before)
  })

  test('that end, get lost or unready are replaced', async () => {
    await open({ pools: [poolConfig({ scale: { warm: 3, max: 6 } })] })
    await h.pass(100)
    const { vendor, announce } = h.provider()
    const befall = ['exited', 'lost', 'running'] as const
    ;[...vendor.workers].forEach(([id, worker], at) => {
      worker.phase = befall[at] ?? 'running'
      worker.ready = false
      announce(id)
    })
    await h.pass(1000)
    expect(live()).toEqual(['idle', 'idle', 'idle'])
    expect(vendor.made).toHaveLength(6)
    const lost = vendor.made[1] ?? ''
    expect(await h.engine.workers.find(lost)).toMatchObject({ end: 'lost', observed_phase: 'lost' })
    const [row] = (await h.engine.journal.why('worker', lost)).filter((one) => one.rule === 'worker-lost')
    expect(JSON.parse(row?.inputs ?? '')).toMatchObject({ by: 'provider' })
  })

  test('that say the same again change nothing in the store, a problem included', async () => {
    await open({ pools: [poolConfig({ scale: { warm: 1 } })] })
    await h.pass(100)
    const { vendor, announce } = h.provider()
    const [[id, worker] = []] = [...vendor.workers]
    if (id === undefined || worker === undefined) throw new Error('there is no worker')
    worker.problem = { code: 'capacity', message: 'the disk is nearly full', final: false }
    announce(id)
    await h.pass(1000)
    const first = h.engine.workers.get(id)
    expect(first?.problem).toContain('nearly full')
    announce(id)
    await h.pass(1000)
    expect(h.engine.workers.get(id)).toBe(first)
  })

  test('seen before the answer of their launch are ready with that answer', async () => {
    const fault = (method: string): Fault | undefined => (method === 'launch' ? { delayMs: 500, early: true } : undefined)
    await open({ providers: [{ name: 'one', fault }], pools: [poolConfig({ scale: { warm: 1 } })] })
    await h.pass(400)
    expect(live()).toEqual(['launching'])
    const listed = h.provider().vendor.calls.filter((one) => one.method !== 'launch').length
    await h.pass(110)
    expect(live()).toEqual(['idle'])
    expect(h.provider().vendor.calls.filter((one) => one.method !== 'launch').length).toBe(listed)
  })
})

describe('what can never be served', () => {
  test('is refused at once with the nearest pool and the field', async () => {
    await open({
      pools: [poolConfig({ name: 'local', placement: ['plain'] }), poolConfig()],
      providers: [{ name: 'plain', capabilities: { image: 'none', fields: [] } }, { name: 'one' }],
    })
    const request = leaseRequest({ pool: 'local', requirements: { image: 'node:26' } })
    expect(h.engine.leases.check(leaseRequest())).toBeUndefined()
    await expect(h.engine.leases.request(request)).rejects.toMatchObject({
      code: 'refused',
      refusal: { nearest: { pool: 'ci', field: 'image', asked: 'node:26' } },
    })
    await expect(h.engine.leases.request(leaseRequest({ pool: 'lokal' }))).rejects.toMatchObject({
      refusal: { code: 'unknown-pool', nearest: { pool: 'local' } },
    })
    expect(rules(await h.engine.journal.why('pool', 'local'))).toEqual(['cannot-be-served'])
    expect([...h.engine.leases.live()]).toEqual([])
  })
})

describe('the end of a worker', () => {
  test('that somebody else ends is told to its lease while it still runs, once; nobody is told of an idle one', async () => {
    await open({ pools: [poolConfig({ scale: { warm: 1 } })] })
    await h.pass(100)
    const id = await ask()
    const taken = h.engine.leases.get(id)?.worker_id ?? ''
    await h.pass(1000)
    const { vendor, announce } = h.provider()
    const drained = { code: 'transient', message: 'evicted: its node is drained', final: true } as const
    const all = [...vendor.workers]
    for (const phase of ['running', 'stopping', 'stopping'] as const)
      for (const [one, worker] of all) {
        Object.assign(worker, { phase, problem: drained })
        announce(one)
        await h.pass(100)
      }
    const told = (await h.engine.journal.after(0, 500)).filter(({ rule }) => rule === 'worker-taken')
    expect(told).toMatchObject([{ lease_id: id, worker_id: taken, decision: expect.stringContaining(drained.message) as string }])
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', worker_id: taken })
    vendor.workers.delete(taken)
    await h.pass(120_000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'lost', end_reason: `lost: ${drained.message}` })
  })

  test('that exits by itself ends its lease; that of a run is kept until exit and log are stored', async () => {
    await open()
    const plain = await ask()
    const ofRun = await ask({ ofRun: 'r1', command: { argv: ['true'] } })
    const worker = h.engine.leases.get(ofRun)?.worker_id ?? ''
    for (const [id, one] of h.provider().vendor.workers) {
      one.phase = 'exited'
      one.exit = { code: 3, reason: 'exited' }
      h.provider().announce(id)
    }
    await h.pass(1000)
    expect(await h.engine.leases.find(plain)).toMatchObject({
      end: 'failed',
      end_reason: 'the worker ended without our doing: exit 3',
    })
    expect(h.engine.leases.get(ofRun)?.state).toBe('active')
    expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'leased', log_hold: 1, exit: '{"code":3,"reason":"exited"}' })
    await h.engine.leases.release(ofRun, { reason: 'over' })
    await h.pass(60_000)
    expect(live()).toEqual(['draining'])
    expect(h.provider().vendor.workers.has(worker)).toBe(true)
    await h.engine.workers.confirmLogEnd(worker)
    await h.engine.workers.confirmLogEnd(worker)
    await h.pass(1000)
    expect(live()).toEqual([])
  })

  test('is not held for a log for ever', async () => {
    await open()
    const id = await ask({ ofRun: 'r1' })
    await h.engine.leases.release(id, { reason: 'over' })
    await h.pass(599_000)
    expect(live()).toEqual(['draining'])
    await h.pass(2000)
    expect(live()).toEqual([])
  })

  test('a command that is over before anybody saw it run was ready and has an exit', async () => {
    await open({ providers: [{ name: 'one', readyMs: 1e9 }] })
    const id = await ask({ ofRun: 'r1', command: { argv: ['true'] } })
    for (const [worker, one] of h.provider().vendor.workers) {
      one.phase = 'exited'
      one.exit = { code: 0, reason: 'exited' }
      h.provider().announce(worker)
    }
    await h.pass(100)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(live()).toEqual(['leased'])
  })

  test('by an operator needs force while it is leased', async () => {
    await open()
    const id = await ask()
    const worker = h.engine.leases.get(id)?.worker_id ?? ''
    const how = { reason: 'maintenance', principal: 'ann' }
    await expect(h.engine.workers.terminate(worker, { ...how, force: false })).rejects.toMatchObject({ code: 'leased' })
    await h.engine.workers.terminate(worker, { ...how, force: true })
    await h.pass(100)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'cancelled', end_reason: 'terminated by ann: maintenance' })
    expect(live()).toEqual([])
    await expect(h.engine.workers.terminate(worker, { ...how, force: true })).rejects.toMatchObject({ code: 'not-found' })
  })
})

describe('waiting for a lease', () => {
  test('resolves with the first view that fits, or with its end', async () => {
    await open()
    const { id } = await h.engine.leases.request(leaseRequest())
    const active = h.engine.leases.wait(id, ({ lease }) => lease.state === 'active')
    const ended = h.engine.leases.wait(id, () => false)
    const seen: string[] = []
    const stop = h.engine.leases.observe(id, ({ lease, worker }) => seen.push(`${lease.state} ${worker?.phase}`))
    await h.pass(100)
    expect(await active).toMatchObject({ lease: { state: 'active' }, worker: { phase: 'leased' } })
    stop()
    await h.engine.leases.release(id, { reason: 'done' })
    expect((await ended).lease.state).toBe('ended')
    expect((await h.engine.leases.wait(id, () => false)).lease.end).toBe('released')
    expect(seen[0]).toBe('assigned launching')
    expect(seen.at(-1)).toBe('active leased')
  })

  test('ends by its signal, with the daemon, and for a lease that does not exist', async () => {
    await open()
    const { id } = await h.engine.leases.request(leaseRequest())
    const control = new AbortController()
    const cut = h.engine.leases.wait(id, () => false, control.signal)
    control.abort(new Error('enough'))
    await expect(cut).rejects.toThrow('enough')
    await expect(h.engine.leases.wait('l-none', () => true)).rejects.toMatchObject({ code: 'not-found' })
    const stopped = h.engine.leases.wait(id, () => false)
    await Promise.all([expect(stopped).rejects.toMatchObject({ code: 'stopping' }), h.engine.stop()])
    await expect(h.engine.leases.request(leaseRequest())).rejects.toMatchObject({ code: 'stopping' })
  })
})

test('a watch is told to end with the daemon', async () => {
  await open()
  const signals: (AbortSignal | undefined)[] = []
  const whole = h.provider().watch
  h.provider().watch = (call) => {
    signals.push(call?.signal)
    return whole(call)
  }
  await h.crash()
  await h.pass(1000)
  expect(signals.map((signal) => signal?.aborted)).toEqual([false])
  await h.engine.stop()
  expect(signals[0]?.aborted).toBe(true)
})

test('rows of the caller are written with the lease, or not at all', async () => {
  await open()
  const fail = h.engine.leases.request(leaseRequest(), () => Promise.reject(new Error('mine')))
  await expect(fail).rejects.toThrow('mine')
  expect(await h.engine.leases.list({ ended: true })).toEqual([])
  const lease = await h.engine.leases.request(leaseRequest(), async (tx, _after, made) => {
    await tx.insertInto('meta').values({ key: 'mine', value: made.id }).execute()
  })
  const row = await h.engine.store.read.selectFrom('meta').select('value').where('key', '=', 'mine').executeTakeFirst()
  expect(row?.value).toBe(lease.id)
  expect((await h.engine.leases.list({ pool: 'ci' })).map((one) => one.id)).toEqual([lease.id])
  expect(await h.engine.workers.list({ before: 'w' })).toEqual([])
})
