/** What the engine does when providers fail: every code of the error table, from launch to terminate. */
import { ProviderError, type ProviderErrorCode } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import type { LeaseRequest } from './model.ts'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault, ScriptOptions } from './testing/vendor.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<Harness> {
  h = await openHarness({
    pools: [poolConfig({ placement: ['one', 'two'] })],
    providers: [{ name: 'one' }, { name: 'two' }],
    ...options,
  })
  return h
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function ask(given: Partial<LeaseRequest> = {}, ms = 100): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest(given))
  await h.pass(ms)
  return id
}
/** The first provider fails launches so, as often as said; the second is well. */
function failing(error: ProviderError, times = Infinity, more: Partial<Fault> = {}): Omit<ScriptOptions, 'owner' | 'clock'>[] {
  let left = times
  const fault = (method: string): Fault | undefined => (method === 'launch' && left-- > 0 ? { error, ...more } : undefined)
  return [{ name: 'one', fault }, { name: 'two' }]
}
const launches = (name: string): number => h.provider(name).vendor.calls.filter((call) => call.method === 'launch').length
const why = async (id: string): Promise<string[]> => (await h.engine.journal.why('lease', id)).map((row) => row.rule)
const none = { effect: 'none' as const }

describe('a launch that fails with', () => {
  const cases: [
    ProviderErrorCode,
    ConstructorParameters<typeof ProviderError>[2],
    { tries: number; state: string; on: string; rule: string },
  ][] = [
    ['capacity', none, { tries: 1, state: 'active', on: 'two', rule: 'launch-capacity' }],
    ['quota', { ...none, quota: 'vcpus' }, { tries: 1, state: 'active', on: 'two', rule: 'launch-quota' }],
    ['auth', none, { tries: 1, state: 'active', on: 'two', rule: 'launch-auth' }],
    ['unsupported', { ...none, path: 'services' }, { tries: 1, state: 'active', on: 'two', rule: 'launch-unsupported' }],
    ['transient', none, { tries: 1, state: 'active', on: 'two', rule: 'launch-transient' }],
    ['internal', none, { tries: 1, state: 'active', on: 'two', rule: 'launch-internal' }],
    ['deadline', {}, { tries: 1, state: 'active', on: 'two', rule: 'launch-deadline' }],
    ['conflict', none, { tries: 1, state: 'active', on: 'two', rule: 'launch-conflict' }],
    ['throttled', { ...none, retryAfterMs: 100_000 }, { tries: 1, state: 'active', on: 'two', rule: 'launch-throttled' }],
    ['cancelled', {}, { tries: 1, state: 'active', on: 'two', rule: 'launch-cancelled' }],
    ['invalid-spec', { ...none, path: 'resources.cpu' }, { tries: 0, state: 'failed', on: '', rule: 'launch-invalid-spec' }],
    ['not-found', none, { tries: 0, state: 'failed', on: '', rule: 'launch-not-found' }],
  ]
  test.each(cases)('%s', async (code, ...[options, expected]) => {
    await open({ providers: failing(new ProviderError(code, 'as told', options)) })
    const id = await ask({}, 90_000)
    const lease = await h.engine.leases.find(id)
    expect(lease).toMatchObject({ tries: expected.tries })
    expect(lease?.end ?? lease?.state).toBe(expected.state)
    if (expected.on !== '') expect(h.engine.workers.get(lease?.worker_id ?? '')?.provider).toBe(expected.on)
    expect(await why(id)).toContain(expected.rule)
    expect(h.provider('one').vendor.workers.size).toBe(0)
    // What came of the worker that was not made is still known of it.
    const [first] = h.provider('one').vendor.calls.filter((call) => call.method === 'launch')
    const ended = await h.engine.workers.find(first?.id ?? '')
    expect(ended).toMatchObject({ terminate_reason: expect.stringContaining(code), problem: expect.stringContaining('as told') })
  })

  test('capacity: the size is remembered there, and asked for again later', async () => {
    await open({ providers: failing(new ProviderError('capacity', 'none left', none), 2) })
    await ask()
    await ask()
    expect(launches('one')).toBe(1)
    await h.pass(30_000)
    await ask()
    expect(launches('one')).toBe(2)
    await h.pass(60_000)
    const id = await ask()
    expect(h.engine.workers.get(h.engine.leases.get(id)?.worker_id ?? '')?.provider).toBe('one')
  })

  test('capacity everywhere: the lease waits for it to come back', async () => {
    await open({ pools: [poolConfig()], providers: failing(new ProviderError('capacity', 'none left', none), 1) })
    const id = await ask()
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'queued', tries: 1 })
    expect(h.engine.pools.get('ci')?.waiting).toMatch(
      /^one: it had no capacity for this size: none left; tried again at \d{4}-\S+Z$/,
    )
    await h.pass(30_000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(await why(id)).toContain('wait-for-provider')
  })

  test('quota: the pool says which, until a launch succeeds there', async () => {
    await open({ providers: failing(new ProviderError('quota', 'no more', { ...none, quota: 'vcpus' }), 1) })
    await ask()
    expect(h.engine.conditions.list()).toMatchObject([
      { scope: 'pool', name: 'ci', type: 'quota:one', message: expect.stringContaining('vcpus') },
    ])
    await h.pass(30_000)
    await ask()
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('a process that answers nothing: the provider says so, until it answers or is gone', async () => {
    await open({ pools: [poolConfig()] })
    const one = h.provider()
    one.setState('degraded', { reason: 'silent', silentSince: 1000, oldestCall: { method: 'launch', since: 0 } })
    expect(h.engine.conditions.list()).toMatchObject([
      { scope: 'provider', name: 'one', type: 'silent', message: expect.stringContaining('launch is open since 1970') },
    ])
    one.setState('degraded', { reason: 'it is probed' })
    expect(h.engine.conditions.list()).toEqual([])
    one.setState('ready')
  })

  test('auth: launches there are held, longer each time, and the provider says so', async () => {
    await open({ pools: [poolConfig()], providers: failing(new ProviderError('auth', 'who are you', none), 2) })
    const id = await ask()
    expect(h.engine.conditions.list()).toMatchObject([{ scope: 'provider', name: 'one', type: 'auth' }])
    expect(launches('one')).toBe(1)
    await h.pass(5000)
    expect(launches('one')).toBe(2)
    await h.pass(9000)
    expect(launches('one')).toBe(2)
    await h.pass(2000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('throttled: only calls of that scope are held, then the same id goes on', async () => {
    await open({
      pools: [poolConfig()],
      providers: failing(new ProviderError('throttled', 'slow down', { ...none, retryAfterMs: 4000 }), 1),
    })
    const first = await ask()
    const second = await ask()
    expect(launches('one')).toBe(1)
    await h.engine.leases.release(second, { reason: 'not needed' })
    await h.pass(4000)
    expect(h.engine.leases.get(first)).toMatchObject({ state: 'active', tries: 0 })
    expect(new Set(h.provider('one').vendor.calls.flatMap((call) => (call.method === 'launch' ? [call.id] : []))).size).toBe(1)
  })

  test('throttled as a whole: calls of every kind wait', async () => {
    let slow = false
    const error = new ProviderError('throttled', 'slow down', { ...none, retryAfterMs: 4000, scope: 'all' })
    const providers = [{ name: 'one', fault: (method: string) => (slow && method === 'launch' ? { error } : undefined) }]
    await open({ pools: [poolConfig()], providers })
    const first = await ask()
    await h.pass(100)
    slow = true
    await ask()
    slow = false
    await h.engine.leases.release(first, { reason: 'done' })
    const ended = (): number => h.provider('one').vendor.calls.filter((call) => call.method === 'terminate').length
    await h.pass(3800)
    expect(ended()).toBe(0)
    await h.pass(300)
    expect(ended()).toBe(1)
  })

  test('transient: the same id again, with growing attempts, and one worker in the end', async () => {
    await open({ providers: failing(new ProviderError('transient', 'reset'), 3, { effect: true }) })
    const id = await ask({}, 20_000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
    const calls = h.provider('one').vendor.calls.filter((call) => call.method === 'launch')
    expect(calls.map((call) => call.attempt)).toEqual([1, 2, 3, 4])
    expect(new Set(calls.map((call) => call.id)).size).toBe(1)
    expect(h.provider('one').vendor.made).toHaveLength(1)
    expect((await why(id)).filter((rule) => rule === 'launch-retry')).toHaveLength(3)
  })

  test('anything, again and again: the lease fails within its budget', async () => {
    await open({
      pools: [poolConfig({ startDeadlineMs: 1000 })],
      providers: failing(new ProviderError('transient', 'reset', none)),
    })
    const id = await ask({ queueTimeoutMs: 1e9 }, 3_600_000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'failed', end_reason: 'transient: reset', tries: 7 })
  })

  test('a possible effect: the old id is confirmed gone, and counts until then', async () => {
    const lag = { visibility: { launchMs: 5000, goneMs: 0 } }
    await open({
      pools: [poolConfig({ placement: ['one', 'two'], scale: { max: 1 } })],
      providers: failing(new ProviderError('capacity', 'perhaps'), 1, { effect: true }).map((one) => ({
        ...one,
        capabilities: lag,
      })),
    })
    const id = await ask()
    expect(h.engine.leases.get(id)?.state).toBe('queued')
    expect([...h.engine.workers.live()].map((worker) => worker.phase)).toEqual(['terminating'])
    await h.pass(5000)
    expect([...h.engine.workers.live()].map((worker) => worker.phase)).toEqual(['terminating'])
    await h.pass(2000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(h.provider('one').vendor.workers.size).toBe(0)
  })
})

describe('after a launch was accepted', () => {
  const late = (problem: { code: ProviderErrorCode; message: string; final: boolean }): void => {
    const [[id, worker] = []] = [...h.provider('one').vendor.workers]
    if (id === undefined || worker === undefined) throw new Error('no worker')
    worker.problem = problem
    h.provider('one').announce(id)
  }

  test('a final problem is a failed launch', async () => {
    await open({ providers: [{ name: 'one', readyMs: 1e9 }, { name: 'two' }] })
    const id = await ask()
    late({ code: 'capacity', message: 'still looking', final: false })
    await h.pass(1000)
    expect(h.engine.leases.get(id)?.state).toBe('assigned')
    late({ code: 'capacity', message: 'unschedulable', final: true })
    await h.pass(3000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 1 })
    expect(h.provider('one').vendor.workers.size).toBe(0)
    expect(await why(id)).toContain('late-capacity')
  })

  test('an image that does not exist fails the request', async () => {
    await open({ providers: [{ name: 'one', readyMs: 1e9 }, { name: 'two' }] })
    const id = await ask()
    late({ code: 'invalid-spec', message: 'no such image', final: true })
    await h.pass(1000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'failed', end_reason: 'invalid-spec: no such image' })
  })

  test('a worker that is not ready in time is given up for the next placement', async () => {
    await open({ providers: [{ name: 'one', readyMs: 1e9 }, { name: 'two' }] })
    const id = await ask({}, 59_000)
    expect(h.engine.leases.get(id)?.state).toBe('assigned')
    await h.pass(3000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 1 })
    expect(await why(id)).toContain('start-deadline')
    expect(h.provider('one').vendor.workers.size).toBe(0)
  })

  test('one that ends or vanishes before it is ready is given up too', async () => {
    await open({ providers: [{ name: 'one', readyMs: 1e9 }, { name: 'two' }] })
    const first = await ask()
    const [[worker, one] = []] = [...h.provider('one').vendor.workers]
    if (one !== undefined) one.phase = 'exited'
    h.provider('one').announce(worker ?? '')
    await h.pass(3000)
    expect(h.engine.leases.get(first)).toMatchObject({ state: 'active', tries: 1 })
    expect(await why(first)).toContain('exit-before-ready')
    const second = await ask()
    h.provider('one').vendor.workers.clear()
    await h.pass(30_000)
    expect(h.engine.leases.get(second)).toMatchObject({ state: 'active', tries: 1 })
    expect(await why(second)).toContain('lost-before-ready')
  })
})

describe('a provider that', () => {
  test('is down is passed over; when all are, the lease waits until one is back', async () => {
    await open()
    h.provider('one').setState('degraded')
    const first = await ask()
    // For longer than a moment.
    await h.pass(6000)
    expect(h.engine.workers.get(h.engine.leases.get(first)?.worker_id ?? '')?.provider).toBe('two')
    h.provider('two').setState('failed')
    const second = await ask()
    expect(h.engine.pools.get('ci')?.waiting).toBe('one: it is degraded; two: it is failed')
    h.provider('one').setState('degraded', { reason: 'auth: refused', hint: 'Renew the key.' })
    expect(h.engine.pools.get('ci')?.waiting).toBe('one: it is degraded; two: it is failed (one: auth: refused. Renew the key.)')
    h.provider('one').setState('ready')
    await h.pass(100)
    expect(h.engine.workers.get(h.engine.leases.get(second)?.worker_id ?? '')?.provider).toBe('one')
  })

  test('needs its pool prepared is asked once, and a failure of that is one of the launch', async () => {
    const asked: string[] = []
    await open({ providers: [{ name: 'one', capabilities: { preparePool: true } }, { name: 'two' }] })
    let broken = true
    h.provider('one').preparePool = async ({ pool }) => {
      asked.push(pool)
      if (broken) throw new ProviderError('auth', 'no right to make networks')
      return { handle: { v: 1, data: {} }, digest: 'd' }
    }
    const first = await ask()
    expect(h.engine.workers.get(h.engine.leases.get(first)?.worker_id ?? '')?.provider).toBe('two')
    expect(launches('one')).toBe(0)
    broken = false
    await h.pass(10_000)
    await Promise.all([ask(), ask()])
    expect(launches('one')).toBe(2)
    expect(asked).toEqual(['ci', 'ci'])
  })

  test('cannot terminate is asked again for ever, loudly, at last with force', async () => {
    let broken = true
    await open({
      pools: [poolConfig()],
      providers: [
        {
          name: 'one',
          fault: (method) => (method === 'terminate' && broken ? { error: new ProviderError('transient', 'busy') } : undefined),
        },
      ],
    })
    const id = await ask()
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(60_000)
    expect(h.engine.conditions.list()).toMatchObject([{ scope: 'provider', name: 'one', type: 'terminate-failing' }])
    await h.pass(120_000)
    expect(
      h
        .provider('one')
        .vendor.calls.filter((call) => call.method === 'terminate')
        .at(-1),
    ).toMatchObject({ force: true })
    broken = false
    await h.pass(60_000)
    expect([...h.engine.workers.live()]).toEqual([])
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('says terminating is asked until nothing is left', async () => {
    await open({ pools: [poolConfig()], providers: [{ name: 'one' }] })
    const id = await ask()
    const { vendor } = h.provider('one')
    h.provider('one').terminate = async ({ id: worker }) => {
      vendor.calls.push({ method: 'terminate', id: worker })
      const one = vendor.workers.get(worker)
      if (one !== undefined) one.phase = 'stopping'
      return { state: 'terminating', by: new Date(h.clock.now() + 1000).toISOString() }
    }
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(30_000)
    expect([...h.engine.workers.live()].map((worker) => worker.phase)).toEqual(['terminating'])
    expect(vendor.calls.filter((call) => call.method === 'terminate').length).toBeGreaterThan(1)
    vendor.workers.clear()
    await h.pass(11_000)
    expect([...h.engine.workers.live()]).toEqual([])
  })

  test('stock that cannot be made is tried ever more rarely, and the pool says why', async () => {
    await open({
      pools: [poolConfig({ scale: { warm: 1 } })],
      providers: failing(new ProviderError('invalid-spec', 'no such image', { ...none, path: 'image' })),
    })
    await h.pass(60_000)
    expect(launches('one')).toBeLessThan(8)
    expect(h.engine.conditions.list()).toMatchObject([
      { scope: 'pool', name: 'ci', type: 'stock', message: expect.stringContaining('image') },
    ])
  })
})

describe('a store that is full', () => {
  test('what happened is stored when there is room again, and nothing is launched without a record', async () => {
    await open({
      pools: [poolConfig()],
      providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { delayMs: 1000 } : undefined) }],
    })
    const id = await ask()
    h.ill = 'full'
    await h.pass(5000)
    expect(h.provider('one').vendor.workers.size).toBe(1)
    expect(h.engine.leases.get(id)?.state).toBe('assigned')
    await expect(h.engine.leases.request(leaseRequest())).rejects.toMatchObject({ code: 'full' })
    expect(launches('one')).toBe(1)
    h.ill = undefined
    await h.pass(5000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    expect(h.provider('one').vendor.made).toHaveLength(1)
  })

  test('deadlines that fall due meanwhile are met afterwards', async () => {
    await open({ pools: [poolConfig()] })
    const id = await ask({ ttlMs: 10_000 })
    h.ill = 'full'
    await h.pass(15_000)
    expect(h.engine.leases.get(id)?.state).toBe('active')
    h.ill = undefined
    await h.pass(2000)
    expect(await h.engine.leases.find(id)).toMatchObject({ end: 'expired' })
  })
})
