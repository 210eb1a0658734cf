/** Pools paused and drained, providers disabled: what stops, what goes on, and what is left of it after a kill. */
import { ProviderError } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }], ...options })
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const ann = { principal: 'ann', reason: 'new image' }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const ask = async (given: Parameters<typeof leaseRequest>[0] = {}): Promise<string> =>
  (await h.engine.leases.request(leaseRequest(given))).id
const stateOf = (id: string): string | undefined => h.engine.leases.get(id)?.state
const made = (name?: string): number => h.provider(name).vendor.made.length
const calls = (method: string, name?: string): number =>
  h.provider(name).vendor.calls.filter((call) => call.method === method).length
const conditions = (): string[] => h.engine.conditions.list().map(({ scope, name, type }) => `${scope} ${name} ${type}`)
const rules = async (kind: 'pool' | 'provider' | 'lease', id: string): Promise<string[]> =>
  (await h.engine.journal.why(kind, id)).map((row) => row.rule)

describe('a paused pool', () => {
  test('launches nothing and hands nothing out; what runs goes on, what waits waits', async () => {
    await open({ pools: [poolConfig({ work: 'hold', uses: 5, scale: { warm: 1, idleMs: 60_000 } })] })
    await h.pass(100)
    const held = await ask()
    await h.pass(100)
    expect(stateOf(held)).toBe('active')
    const before = made()
    const idle = [...h.engine.workers.live()].find((worker) => worker.phase === 'idle')?.id ?? ''

    expect(await h.engine.pools.pause('ci', ann)).toMatchObject({ wish: { wish: 'paused', principal: 'ann' } })
    const waits = await ask({ queueTimeoutMs: 30_000 })
    const later = await ask()
    await h.pass(10_000)
    expect([stateOf(held), stateOf(waits), stateOf(later)]).toEqual(['active', 'queued', 'queued'])
    expect(h.engine.pools.get('ci')?.waiting).toBe('the pool is paused by ann: new image')
    expect((await h.engine.journal.why('lease', later)).at(-1)).toMatchObject({
      rule: 'pool-paused',
      decision: 'waits: the pool is paused by ann: new image',
    })
    expect(conditions()).toEqual(['pool ci paused'])
    // Its time goes on.
    await h.pass(30_000)
    expect(await h.engine.leases.find(waits)).toMatchObject({ state: 'ended', end: 'failed' })
    // Given back, a worker may be used again; but by nobody now. Its stock is kept, more than that ends when it was idle for long enough.
    await h.engine.leases.release(held, { reason: 'done' })
    await h.pass(100)
    expect(h.engine.pools.get('ci')?.workers).toEqual({ idle: 2 })
    await h.pass(61_000)
    expect(h.engine.pools.get('ci')?.workers).toEqual({ idle: 1 })
    // Not even stock is made anew.
    for (const worker of h.engine.workers.live()) await h.engine.workers.terminate(worker.id, { ...ann, force: false })
    await h.pass(60_000)
    expect(h.engine.workers.get(idle)).toBeUndefined()
    expect([made(), stateOf(later)]).toEqual([before, 'queued'])

    expect((await h.engine.pools.resume('ci', ann)).wish).toBeUndefined()
    await h.pass(1000)
    expect(stateOf(later)).toBe('active')
    expect(h.engine.pools.get('ci')?.workers).toEqual({ leased: 1, idle: 1 })
    expect(conditions()).toEqual([])
  })

  test('lets a launch under way go on, and takes back those that were not sent, in their places of the queue', async () => {
    // One place for launches: the first call is open, the second waits for its place, the third for the second.
    await open({
      providers: [{ name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 1000 } : undefined) }],
    })
    const [first, second, third] = [await ask(), await ask(), await ask()]
    await h.settle()
    expect([stateOf(first), stateOf(second), stateOf(third)]).toEqual(['assigned', 'assigned', 'queued'])
    expect(calls('launch')).toBe(1)
    await h.engine.pools.pause('ci', ann)
    await h.pass(60_000)
    expect([stateOf(first), stateOf(second), stateOf(third)]).toEqual(['active', 'queued', 'queued'])
    expect([made(), calls('launch')]).toEqual([1, 1])
    expect(await rules('lease', second)).toContain('launch-taken-back')
    expect(h.engine.leases.get(second)).toMatchObject({ worker_id: null, tries: 0 })
    expect(await h.engine.workers.list({ ended: true })).toMatchObject([{ end: 'never-made' }, { phase: 'leased' }])
    await h.engine.pools.resume('ci', ann)
    await h.pass(1500)
    expect([stateOf(second), stateOf(third)]).toEqual(['active', 'assigned'])
  })

  test('repeats no launch: what the failed try may have made is ended, and the lease waits', async () => {
    let fault: Fault | undefined = { delayMs: 500, early: true, error: new ProviderError('transient', 'cut off'), effect: true }
    await open({ providers: [{ name: 'one', fault: (method) => (method === 'launch' ? fault : undefined) }] })
    const id = await ask()
    await h.settle()
    await h.engine.pools.pause('ci', ann)
    await h.pass(60_000)
    expect([stateOf(id), calls('launch'), made()]).toEqual(['queued', 1, 1])
    expect(h.provider().vendor.workers.size).toBe(0)
    expect([...h.engine.workers.live()]).toEqual([])
    expect(await rules('lease', id)).toEqual([
      'lease-queued',
      'launch-for-lease',
      'launch-taken-back',
      'launch-undo',
      'pool-paused',
    ])
    fault = undefined
    await h.engine.pools.resume('ci', ann)
    await h.pass(1000)
    expect(stateOf(id)).toBe('active')
  })

  test.each(['intent-written', 'call-sent', 'effect-done-answer-unread', 'launched-stored'] as const)(
    'stays paused over a kill at %s, and leaves nothing behind',
    async (point) => {
      await open()
      h.crashAt(point)
      const id = await ask()
      await h.settle()
      expect(h.crashed).toBe(true)
      await h.crash()
      await h.engine.pools.pause('ci', ann)
      await h.crash()
      expect(h.engine.pools.get('ci')?.wish).toMatchObject({ wish: 'paused', reason: 'new image' })
      expect(conditions()).toEqual(['pool ci paused'])
      await h.pass(60_000)
      // Launched before the kill, or by the start after it: it is the lease's. Otherwise nothing of it exists.
      const state = stateOf(id)
      expect(['active', 'queued']).toContain(state)
      expect(h.provider().vendor.workers.size).toBe(state === 'active' ? 1 : 0)
      await h.engine.pools.resume('ci', ann)
      await h.pass(60_000)
      expect(stateOf(id)).toBe('active')
      expect(h.provider().vendor.workers.size).toBe(1)
    },
  )

  test('launches nothing at a start that finds launches in doubt', async () => {
    await open({
      providers: [{ name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 500 } : undefined) }],
    })
    const ids = [await ask(), await ask()]
    await h.settle()
    // The wish alone is sure to survive: the host may die before it has taken anything back.
    await h.engine.pools.pause('ci', ann)
    await h.crash()
    await h.pass(120_000)
    expect(ids.map(stateOf)).toEqual(['queued', 'queued'])
    expect([calls('launch'), h.provider().vendor.workers.size]).toEqual([1, 0])
  })

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
    'and a hand-out %i turns apart: after the pause nothing is handed out',
    async (turns) => {
      await open({ pools: [poolConfig({ uses: 2, scale: { max: 1, warm: 1 } })] })
      await h.pass(100)
      const asked = ask()
      for (let i = 0; i < turns; i++) await turn()
      await h.engine.pools.pause('ci', ann)
      const id = await asked
      const now = stateOf(id)
      expect(['active', 'queued']).toContain(now)
      await h.pass(60_000)
      expect(stateOf(id)).toBe(now)
      await h.engine.pools.resume('ci', ann)
      await h.pass(1000)
      expect(stateOf(id)).toBe('active')
      expect(made()).toBe(1)
    },
  )

  test('sends no launch that was still being prepared', async () => {
    const prepared = Promise.withResolvers<void>()
    await open({ providers: [{ name: 'one', capabilities: { preparePool: true }, prepared: () => prepared.promise }] })
    const id = await ask()
    await h.settle()
    await h.engine.pools.pause('ci', ann)
    prepared.resolve()
    await h.pass(1000)
    expect([stateOf(id), calls('launch')]).toEqual(['queued', 0])
    await h.engine.pools.resume('ci', ann)
    await h.pass(1000)
    expect([stateOf(id), made()]).toEqual(['active', 1])
  })
})

describe('wishes', () => {
  test('one replaces the other; the same again is no news', async () => {
    await open()
    for (const act of ['drain', 'drain', 'pause', 'pause', 'resume', 'resume', 'drain', 'resume'] as const)
      await h.engine.pools[act]('ci', { principal: 'ann' })
    await h.engine.pools.pause('ci', ann)
    await h.engine.pools.pause('ci', { ...ann, reason: 'still' })
    expect(conditions()).toEqual(['pool ci paused'])
    expect(h.engine.pools.get('ci')?.wish?.reason).toBe('still')
    const told = await rules('pool', 'ci')
    expect(told).toEqual(['pool-drain', 'pool-pause', 'pool-resume', 'pool-drain', 'pool-resume', 'pool-pause', 'pool-pause'])
  })

  test('of names that do not exist are refused, with what there is', async () => {
    await open()
    for (const act of ['pause', 'drain', 'resume'] as const)
      await expect(h.engine.pools[act]('nowhere', ann)).rejects.toMatchObject({
        code: 'not-found',
        hint: expect.stringContaining('muster pools'),
      })
    for (const act of ['disable', 'enable'] as const)
      await expect(h.engine.providers[act]('two', ann)).rejects.toMatchObject({ code: 'not-found' })
  })

  test('of a name that the configuration has no longer stay, do nothing, and hold again when it is back', async () => {
    const pools = [poolConfig({ placement: ['one', 'two'] }), poolConfig({ name: 'other' })]
    const whole = [...pools]
    await open({ pools, providers: [{ name: 'one' }, { name: 'two' }] })
    await h.engine.pools.pause('ci', ann)
    await h.engine.providers.disable('two', ann)
    pools.shift()
    h.absent.add('two')
    await h.crash()
    expect(conditions()).toEqual([])
    const id = await ask({ pool: 'other' })
    await h.pass(1000)
    expect(stateOf(id)).toBe('active')
    pools.splice(0, 1, ...whole)
    h.absent.clear()
    await h.crash()
    expect(conditions().sort()).toEqual(['pool ci paused', 'provider two disabled'])
    expect(h.engine.providers.wish('two')).toMatchObject({ wish: 'disabled' })
  })

  test('a wish that could not be stored is none', async () => {
    await open()
    h.ill = 'full'
    await expect(h.engine.pools.pause('ci', ann)).rejects.toMatchObject({ code: 'full' })
    h.ill = undefined
    const id = await ask()
    await h.pass(1000)
    expect([stateOf(id), h.engine.pools.get('ci')?.wish, conditions()]).toEqual(['active', undefined, []])
  })
})

describe('a disabled provider', () => {
  const both = { pools: [poolConfig({ placement: ['one', 'two'] })], providers: [{ name: 'one' }, { name: 'two' }] }

  test('gets no launch: the next placement is taken, also after a kill; its own workers go on', async () => {
    await open(both)
    const old = await ask()
    await h.pass(100)
    await h.engine.providers.disable('one', ann)
    expect(conditions()).toEqual(['provider one disabled'])
    const next = await ask()
    await h.pass(100)
    await h.crash()
    const third = await ask()
    await h.pass(1000)
    expect([old, next, third].map(stateOf)).toEqual(['active', 'active', 'active'])
    expect([made('one'), made('two')]).toEqual([1, 2])
    const launched = (await h.engine.journal.why('lease', next)).find((row) => row.rule === 'launch-for-lease')
    expect(launched?.inputs).toContain('it is disabled by ann: new image')
    // Read and terminated as ever.
    await h.engine.leases.release(old, { reason: 'done' })
    await h.pass(1000)
    expect(h.provider('one').vendor.workers.size).toBe(0)
    const lists = calls('list', 'one')
    await h.engine.reconcile('one')
    expect(calls('list', 'one')).toBe(lists + 1)
    await h.engine.providers.enable('one', ann)
    const last = await ask()
    await h.pass(1000)
    expect([stateOf(last), made('one'), conditions()]).toEqual(['active', 2, []])
    expect(await rules('provider', 'one')).toEqual(expect.arrayContaining(['provider-disable', 'provider-enable']))
  })

  test('makes a pool without another wait, never fail; neither lease nor stock is launched, nor the pool prepared', async () => {
    const prepared: string[] = []
    await open({
      pools: [poolConfig(), poolConfig({ name: 'stock', work: 'hold', scale: { warm: 2 } })],
      providers: [{ name: 'one', capabilities: { preparePool: true }, prepared: (pool) => void prepared.push(pool) }],
    })
    await h.pass(100)
    await h.engine.providers.disable('one', ann)
    for (const worker of h.engine.workers.live()) await h.engine.workers.terminate(worker.id, { ...ann, force: false })
    const id = await ask()
    await h.pass(590_000)
    expect([stateOf(id), made(), prepared]).toEqual(['queued', 2, ['stock']])
    expect(h.engine.pools.get('ci')?.waiting).toBe('one: it is disabled by ann: new image')
    expect(await rules('lease', id)).toEqual(['lease-queued', 'wait-for-provider'])
    await h.engine.providers.enable('one', ann)
    await h.pass(1000)
    expect([stateOf(id), made(), prepared]).toEqual(['active', 5, ['stock', 'ci']])
  })

  test('is not even prepared by a start that finds launches in doubt', async () => {
    const prepared: string[] = []
    await open({
      providers: [
        {
          name: 'one',
          capabilities: { preparePool: true },
          prepared: (pool) => void prepared.push(pool),
          fault: (method) => (method === 'launch' ? { delayMs: 500 } : undefined),
        },
      ],
    })
    const id = await ask()
    await h.settle()
    await h.engine.providers.disable('one', ann)
    await h.crash()
    await h.pass(60_000)
    expect([stateOf(id), prepared, calls('launch'), h.provider().vendor.workers.size]).toEqual(['queued', ['ci'], 1, 0])
  })

  test('with launches under way: the open one goes on, the others go to the next placement at once', async () => {
    await open({
      ...both,
      providers: [
        { name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 30_000 } : undefined) },
        { name: 'two' },
      ],
    })
    const [first, second] = [await ask(), await ask()]
    await h.settle()
    await h.engine.providers.disable('one', ann)
    await h.pass(1000)
    expect([stateOf(first), stateOf(second)]).toEqual(['assigned', 'active'])
    await h.pass(30_000)
    expect([stateOf(first), made('one'), made('two'), calls('launch', 'one')]).toEqual(['active', 1, 1, 1])
  })

  test('that is away at a start does not hold the lease of a launch in doubt', async () => {
    await open({
      ...both,
      providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { delayMs: 500 } : undefined) }, { name: 'two' }],
    })
    const id = await ask()
    await h.settle()
    await h.engine.providers.disable('one', ann)
    h.provider('one').setState('degraded')
    h.provider('one').setState('starting')
    await h.crash()
    await h.pass(1000)
    expect([stateOf(id), made('two')]).toEqual(['active', 1])
    // What the launch in doubt has made is ended once somebody can be asked.
    h.provider('one').setState('ready')
    await h.pass(60_000)
    expect(h.provider('one').vendor.workers.size).toBe(0)
  })

  test('whose open launch fails is not asked again; what may exist there is ended', async () => {
    const error = new ProviderError('transient', 'cut off')
    await open({
      ...both,
      providers: [
        {
          name: 'one',
          fault: (method) => (method === 'launch' ? { delayMs: 500, early: true, error, effect: true } : undefined),
        },
        { name: 'two' },
      ],
    })
    const id = await ask()
    await h.settle()
    await h.engine.providers.disable('one', ann)
    await h.pass(10_000)
    expect([stateOf(id), calls('launch', 'one'), made('two')]).toEqual(['active', 1, 1])
    expect(h.provider('one').vendor.workers.size).toBe(0)
  })
})
