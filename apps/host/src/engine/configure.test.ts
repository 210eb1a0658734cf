import { ProviderError } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import { entriesOf, type ProviderEntry } from './entries.ts'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const warm = poolConfig({ work: 'hold', scale: { min: 0, warm: 2, idleMs: 60_000 } })

async function open(pools: PoolConfig[] = [warm]): Promise<void> {
  h = await openHarness({ pools, providers: [{ name: 'one' }, { name: 'two' }] })
  await h.pass(100)
}

async function configure(
  pools: PoolConfig[],
  { commit = () => undefined, ...more }: { commit?: () => void; entries?: readonly ProviderEntry[] } = {},
): Promise<void> {
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  await h.engine.configure({ pools, ...settings }, { principal: 'tester', changes: ['it'], commit, ...more })
  await h.pass(100)
}

async function held(pool = 'ci'): Promise<{ id: string; worker: string }> {
  const { id } = await h.engine.leases.request(leaseRequest({ pool }))
  await h.pass(100)
  return { id, worker: h.engine.leases.get(id)?.worker_id ?? '' }
}

const state = (id: string): string | undefined => h.engine.leases.get(id)?.state
const vendor = (name = 'one'): string[] => [...h.provider(name).vendor.workers.keys()]

describe('another configuration', () => {
  test('is a decision with who made it, and the providers take over in the same turn', async () => {
    await open()
    let calls = 0
    await configure([warm], { commit: () => void (calls += 1) })
    expect(calls).toBe(1)
    const told = (await h.engine.journal.after(0, 500)).find((row) => row.rule === 'config-applied')
    expect(JSON.parse(told?.inputs ?? '')).toEqual({ principal: 'tester', changes: ['it'] })
  })

  test('that cannot be stored changes nothing, and the providers do not take over', async () => {
    await open()
    h.ill = 'full'
    let calls = 0
    await expect(configure([], { commit: () => void (calls += 1) })).rejects.toThrow('as the test asked')
    h.ill = undefined
    expect(calls).toBe(0)
    expect(h.engine.pools.get('ci')?.config).toEqual(warm)
    expect(await held()).toMatchObject({ worker: expect.stringMatching(/^w/) as string })
  })

  test('that comes while the engine stops changes nothing: nobody would stop the providers that take over', async () => {
    await open()
    const stopped = h.engine.stop()
    let calls = 0
    await expect(configure([], { commit: () => void (calls += 1) })).rejects.toMatchObject({ code: 'stopping' })
    await stopped
    expect(calls).toBe(0)
  })

  test('with more room serves who waits; with less it ends nobody who is held', async () => {
    const small = poolConfig({ work: 'hold', scale: { max: 1 } })
    await open([small])
    const first = await held()
    const second = await held()
    expect([state(first.id), state(second.id)]).toEqual(['active', 'queued'])
    await configure([{ ...small, scale: { ...small.scale, max: 2 } }])
    expect(state(second.id)).toBe('active')
    await configure([small])
    await h.pass(600_000 - 1000)
    expect([state(first.id), state(second.id)]).toEqual(['active', 'active'])
    expect(vendor()).toHaveLength(2)
    await h.engine.leases.release(first.id, { reason: 'done' })
    const third = await held()
    expect(state(third.id)).toBe('queued')
  })

  test('with a larger stock fills it, with a smaller one lets it go in its idle time', async () => {
    await open()
    expect(vendor()).toHaveLength(2)
    await configure([{ ...warm, scale: { ...warm.scale, warm: 4 } }])
    expect(vendor()).toHaveLength(4)
    await configure([{ ...warm, scale: { ...warm.scale, warm: 1 } }])
    await h.pass(61_000)
    expect(vendor()).toHaveLength(1)
  })

  test('with another template makes new workers of it, and leaves held ones as they are', async () => {
    await open()
    const before = await held()
    await configure([{ ...warm, worker: { image: 'next' } }])
    const after = await held()
    const image = (id: string): string | undefined => h.provider('one').vendor.workers.get(id)?.spec.image
    expect([image(before.worker), image(after.worker)]).toEqual([undefined, 'next'])
    await h.pass(61_000)
    expect(state(before.id)).toBe('active')
    // The stock is of the new kind alone.
    const idle = vendor().filter((id) => h.engine.workers.get(id)?.phase === 'idle')
    expect(idle.map(image)).toEqual(['next', 'next'])
  })

  test('reaches a lease that waits: it gets what the pool is now', async () => {
    const small = poolConfig({ work: 'hold', scale: { max: 1 } })
    await open([small])
    const first = await held()
    const second = await held()
    await configure([{ ...small, worker: { image: 'next' } }])
    await h.engine.leases.release(first.id, { reason: 'done' })
    await h.pass(5000)
    const { worker_id: worker } = h.engine.leases.get(second.id) ?? {}
    expect(h.provider('one').vendor.workers.get(worker ?? '')?.spec.image).toBe('next')
  })
})

describe('a pool that is named no longer', () => {
  test('keeps who is held, fails who waits, takes nobody, and then is not there', async () => {
    const max = poolConfig({ work: 'hold', scale: { max: 2, warm: 1 } })
    await open([max, poolConfig({ name: 'other' })])
    const first = await held()
    const second = await held()
    const waits = await held()
    await configure([poolConfig({ name: 'other' })])
    expect([state(first.id), state(second.id)]).toEqual(['active', 'active'])
    expect(vendor()).toHaveLength(2)
    await expect(h.engine.leases.request(leaseRequest())).rejects.toMatchObject({ refusal: { code: 'unknown-pool' } })
    const ended = await h.engine.leases.find(waits.id)
    expect([ended?.state, ended?.end]).toEqual(['ended', 'failed'])
    expect(ended?.end_reason).toContain('the configuration names its pool no longer')
    expect(h.engine.pools.get('ci')).toMatchObject({ leases: 2 })
    await h.pass(300_000)
    expect([state(first.id), state(second.id)]).toEqual(['active', 'active'])
    for (const { id } of [first, second]) await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(5000)
    expect(vendor()).toEqual([])
    expect(h.engine.pools.list().map((pool) => pool.config.name)).toEqual(['other'])
  })

  test('fails who waits also when it was paused, and is no pool that an operator could pause', async () => {
    await open([poolConfig({ work: 'hold' }), poolConfig({ name: 'other' })])
    await h.engine.pools.pause('ci', { principal: 'ann' })
    const waits = await held()
    expect(state(waits.id)).toBe('queued')
    await configure([poolConfig({ name: 'other' })])
    expect((await h.engine.leases.find(waits.id))?.end).toBe('failed')
    await expect(h.engine.pools.pause('ci', { principal: 'bob' })).rejects.toMatchObject({ code: 'not-found' })
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('comes back with what it still has', async () => {
    await open()
    const { id, worker } = await held()
    await configure([poolConfig({ name: 'other' })])
    await configure([warm])
    expect(h.engine.pools.get('ci')).toMatchObject({ leases: 1, config: warm })
    await h.pass(1000)
    expect(vendor()).toContain(worker)
    expect(state(id)).toBe('active')
    expect(vendor()).toHaveLength(3)
  })

  test('a launch that is under way for it is served to its end', async () => {
    h = await openHarness({
      pools: [warm],
      providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { delayMs: 5000 } : undefined) }],
    })
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(1000)
    await configure([poolConfig({ name: 'other' })])
    await h.pass(10_000)
    expect(state(id)).toBe('active')
    await h.pass(10_000)
    // Its stock is not: ready, nobody's, and gone.
    expect(vendor()).toEqual([h.engine.leases.get(id)?.worker_id])
  })
})

describe('what an operator decided', () => {
  test('of a pool or a provider holds over another configuration, and is shown as long as that names them', async () => {
    await open()
    await h.engine.pools.pause('ci', { principal: 'ann' })
    await h.engine.providers.disable('two', { principal: 'ann' })
    await configure([{ ...warm, scale: { ...warm.scale, warm: 4 } }])
    expect(vendor()).toHaveLength(2)
    const types = (): string[] => h.engine.conditions.list().map((one) => `${one.type} ${one.name}`)
    expect(types()).toEqual(['paused ci', 'disabled two'])
    await configure([poolConfig({ name: 'other' })])
    await h.pass(60_000)
    expect([vendor(), types()]).toEqual([[], ['disabled two']])
    await configure([warm])
    expect([vendor(), types()]).toEqual([[], ['disabled two', 'paused ci']])
    await h.engine.pools.resume('ci', { principal: 'ann' })
    await h.pass(100)
    expect(vendor()).toHaveLength(2)
  })

  test('of an idle worker holds where its pool no longer names the provider, until it is taken back', async () => {
    await open([poolConfig({ work: 'hold', placement: ['one', 'two'], scale: { warm: 1 } })])
    const [id = ''] = vendor('one')
    await h.engine.workers.cordon(id, { principal: 'ann', reason: 'to be looked at' })
    await configure([poolConfig({ work: 'hold', placement: ['two'], scale: { warm: 1 } })])
    await h.pass(60_000)
    expect(vendor('one')).toContain(id)
    await h.engine.workers.uncordon(id, { principal: 'ann' })
    await h.pass(5000)
    expect(vendor('one')).toEqual([])
  })
})

describe('a provider', () => {
  const both = poolConfig({ work: 'hold', placement: ['one', 'two'], scale: { warm: 1 } })

  test('that the pool leaves out keeps who is held and loses who is idle', async () => {
    await open([both])
    const first = await held()
    expect(vendor('one')).toHaveLength(2)
    await configure([{ ...both, placement: ['two'] }])
    await h.pass(5000)
    expect(vendor('one')).toEqual([first.worker])
    expect(vendor('two')).toHaveLength(1)
    expect(state(first.id)).toBe('active')
  })

  test('that is named no longer goes once its last worker is gone, and says so until then', async () => {
    await open([both])
    const { id, worker } = await held()
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    await h.pass(120_000)
    expect(h.leaving).toEqual(new Set(['one']))
    expect(h.engine.conditions.list()).toMatchObject([{ scope: 'provider', name: 'one', type: 'leaving' }])
    expect(vendor('one')).toEqual([worker])
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(5000)
    expect([vendor('one'), h.leaving, h.engine.conditions.list()]).toEqual([[], new Set(), []])
    expect(h.engine.plugins.find('one')).toBeUndefined()
    const before = h.provider('one').vendor.calls.length
    await h.pass(120_000)
    expect(h.provider('one').vendor.calls).toHaveLength(before)
  })

  test('is noted as it was configured until it goes', async () => {
    await open([both])
    const { id } = await held()
    const noted = async (): Promise<string[]> => (await entriesOf(h.engine.store)).map(({ name, value }) => `${name} ${value}`)
    await configure([both], { entries: ['one', 'two'].map((name) => ({ name, value: '{"it":1}' })) })
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }], { entries: [{ name: 'two', value: '{"it":2}' }] })
    await h.pass(120_000)
    expect(await noted()).toEqual(['one {"it":1}', 'two {"it":2}'])
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(5000)
    expect(await noted()).toEqual(['two {"it":2}'])
  })

  test('is looked after by the next daemon too, and gets no launch that was not sent', async () => {
    let away = true
    const pools = [both]
    h = await openHarness({
      pools,
      providers: [
        {
          name: 'one',
          fault: (method) => (method === 'launch' && away ? { error: new ProviderError('transient', 'no') } : undefined),
        },
        { name: 'two' },
      ],
    })
    away = false
    const first = await held()
    away = true
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(100)
    const launches = (): number => h.provider('one').vendor.calls.filter((call) => call.method === 'launch').length
    const before = launches()
    h.leaving.add('one')
    pools.splice(0, 1, { ...both, placement: ['two'] })
    await h.crash()
    away = false
    expect(h.engine.conditions.list()).toMatchObject([{ scope: 'provider', name: 'one', type: 'leaving' }])
    await h.pass(60_000)
    expect([state(id), vendor('one'), launches()]).toEqual(['active', [first.worker], before])
    await h.engine.leases.release(first.id, { reason: 'done' })
    await h.pass(5000)
    expect([h.engine.plugins.find('one'), h.engine.conditions.list()]).toEqual([undefined, []])
  })

  test('without workers goes at once', async () => {
    await open([poolConfig({ placement: ['two'] })])
    h.leaving.add('one')
    await configure([poolConfig({ placement: ['two'] })])
    expect(h.engine.plugins.find('one')).toBeUndefined()
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('that goes while an operator decides about it is answered for, and no condition of it stays', async () => {
    await open([poolConfig({ placement: ['two'] })])
    const asked = h.engine.providers.disable('one', { principal: 'ann' })
    h.gone.add('one')
    expect((await asked).name).toBe('one')
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('with a forgotten worker that is there after all goes once that is removed as an orphan', async () => {
    let broken = true
    h = await openHarness({
      pools: [both],
      providers: [
        {
          name: 'one',
          capabilities: { visibility: { launchMs: 0, goneMs: 5000 } },
          fault: (method) =>
            method === 'terminate' && broken ? { error: new ProviderError('transient', 'no answer') } : undefined,
        },
        { name: 'two' },
      ],
    })
    const { id, worker } = await held()
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(120_000)
    for (const one of vendor('one')) await h.engine.workers.forget(one, { principal: 'ann', reason: 'it is said to be gone' })
    broken = false
    await h.pass(1000)
    expect(vendor('one')).toContain(worker)
    expect(h.engine.plugins.find('one')).toBeDefined()
    await h.pass(600_000)
    expect(vendor('one')).toEqual([])
    expect(h.engine.plugins.find('one')).toBeUndefined()
    expect(h.engine.conditions.list()).toEqual([])
  })

  test('that nobody can ask any more goes with the last worker that is forgotten', async () => {
    await open([both])
    await held()
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    h.provider('one').setState('failed')
    for (const one of vendor('one')) await h.engine.workers.forget(one, { principal: 'ann', reason: 'it is gone' })
    await h.pass(1000)
    expect(h.engine.plugins.find('one')).toBeUndefined()
  })

  test('that is gone leaves no condition behind, and a pool none of what it asks no longer', async () => {
    let broken = true
    h = await openHarness({
      pools: [both],
      providers: [
        {
          name: 'one',
          fault: (method) => (broken && method !== 'inspect' ? { error: new ProviderError('auth', 'no') } : undefined),
        },
        { name: 'two' },
      ],
    })
    await h.pass(300_000)
    const types = (): string[] => h.engine.conditions.list().map((one) => `${one.type} ${one.name}`)
    expect(types()).toEqual(expect.arrayContaining(['auth one', 'list-failing one']))
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    broken = false
    await h.pass(60_000)
    expect(h.engine.plugins.find('one')).toBeUndefined()
    expect(types()).toEqual([])
  })

  test('that is named again is not missing any more', async () => {
    await open([both])
    await held()
    h.absent.add('one')
    await h.crash()
    const types = (): string[] => h.engine.conditions.list().map((one) => `${one.type} ${one.name}`)
    expect(types()).toEqual(['missing one'])
    h.absent.delete('one')
    await h.crash()
    expect(types()).toEqual([])
  })

  test('that was leaving when the daemon ended and cannot be opened again is missing, or neither', async () => {
    await open([both])
    await held()
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    h.leaving.delete('one')
    h.absent.add('one')
    await h.crash()
    const types = (): string[] => h.engine.conditions.list().map((one) => `${one.type} ${one.name}`)
    expect(types()).toEqual(['missing one'])
    h.absent.delete('one')
    await h.crash()
    expect(types()).toEqual([])
  })

  test('with an orphan goes once that is removed', async () => {
    await open([poolConfig({ placement: ['two'] })])
    const { id } = await held()
    const { worker_id: worker } = h.engine.leases.get(id) ?? {}
    const seen = h.provider('two').vendor.workers.get(worker ?? '')
    if (seen === undefined) throw new Error('no worker')
    const stray = `w${'7'.repeat(26)}`
    const tags = { ...seen.spec.tags, 'muster-provider': 'one', 'muster-worker': stray }
    h.provider('one').vendor.workers.set(stray, { ...seen, spec: { ...seen.spec, id: stray, tags } })
    await h.engine.reconcile('one')
    h.leaving.add('one')
    await configure([poolConfig({ placement: ['two'] })])
    expect(h.engine.plugins.find('one')).toBeDefined()
    await h.pass(300_000)
    expect(vendor('one')).toEqual([])
    expect(h.engine.plugins.find('one')).toBeUndefined()
  })
})

test('after a crash an idle worker at a provider that its pool no longer names is ended, a held one is not', async () => {
  const pools = [poolConfig({ work: 'hold', placement: ['one', 'two'], scale: { warm: 1 } })]
  await open(pools)
  const first = await held()
  expect(vendor('one')).toHaveLength(2)
  pools.splice(0, 1, poolConfig({ work: 'hold', placement: ['two'], scale: { warm: 1 } }))
  await h.crash()
  await h.pass(60_000)
  expect(vendor('one')).toEqual([first.worker])
  expect(state(first.id)).toBe('active')
})
