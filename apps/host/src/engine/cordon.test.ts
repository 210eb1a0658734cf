/** Workers that an operator takes out of hand-outs. */
import { afterEach, describe, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }], ...options })
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const ann = { principal: 'ann', reason: 'its disk is slow' }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const ask = async (): Promise<string> => (await h.engine.leases.request(leaseRequest())).id
const only = (): string => [...h.engine.workers.live()][0]?.id ?? ''
const pool = (): unknown => h.engine.pools.get('ci')
const lastDecision = async (id: string): Promise<string | undefined> =>
  (await h.engine.journal.why('worker', id)).at(-1)?.decision

describe('a cordoned idle worker', () => {
  test('is handed to nobody, counts for no stock, and is left alone until its lifetime, over a kill too', async () => {
    await open({ pools: [poolConfig({ work: 'hold', lifetimeMs: 600_000, scale: { min: 1, max: 2, warm: 1, idleMs: 1000 } })] })
    await h.pass(100)
    const id = only()
    expect(await h.engine.workers.cordon(id, ann)).toMatchObject({ cordoned: 1, cordon_reason: 'by ann: its disk is slow' })
    await h.pass(1000)
    // Another is made for the stock, and the pool is full with both.
    expect(pool()).toMatchObject({ workers: { idle: 2 }, aside: 1 })
    const lease = await ask()
    const waits = await ask()
    await h.pass(1000)
    expect(h.engine.leases.get(lease)?.worker_id).not.toBe(id)
    expect(h.engine.leases.get(waits)?.state).toBe('queued')
    expect(h.engine.pools.get('ci')?.waiting).toBe('the pool is at its maximum of 2, 1 of them cordoned or kept')
    await h.crash()
    // Neither surplus, nor room for others, nor a drain, nor an illness of its own ends it.
    await h.engine.pools.drain('ci', ann)
    const sick = h.provider().vendor.workers.get(id)
    if (sick !== undefined) sick.ready = false
    h.provider().announce(id)
    await h.pass(570_000)
    expect(h.engine.workers.get(id)).toMatchObject({ phase: 'idle', cordoned: 1, observed_ready: 'false' })
    await h.pass(40_000)
    expect(h.engine.workers.get(id)).toBeUndefined()
    expect(h.provider().vendor.workers.has(id)).toBe(false)
  })

  test('is no part of the least number of workers', async () => {
    await open({ pools: [poolConfig({ work: 'hold', scale: { min: 1, idleMs: 1000 } })] })
    await h.pass(100)
    const id = only()
    await h.engine.workers.cordon(id, ann)
    expect(await lastDecision(id)).toBe('it is handed out to nobody, and left alone until its lifetime')
    await h.pass(5000)
    expect(pool()).toMatchObject({ workers: { idle: 2 }, aside: 1 })
    await h.engine.workers.uncordon(id, ann)
    await h.pass(5000)
    expect(pool()).toMatchObject({ workers: { idle: 1 }, aside: 0 })
  })

  test('goes back among the others, and is not at once too old for it', async () => {
    await open({ pools: [poolConfig({ work: 'hold', uses: 2, scale: { max: 1, idleMs: 60_000 } })] })
    const first = await ask()
    await h.pass(100)
    const id = only()
    await h.engine.leases.release(first, { reason: 'done' })
    await h.engine.workers.cordon(id, ann)
    await h.engine.workers.cordon(id, ann)
    await h.pass(120_000)
    expect(await h.engine.workers.uncordon(id, ann)).toMatchObject({ cordoned: 0, cordon_reason: null, phase: 'idle' })
    await h.pass(30_000)
    const lease = await ask()
    await h.pass(100)
    expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active', worker_id: id })
    const rules = (await h.engine.journal.why('worker', id)).map((row) => row.rule)
    expect(rules.filter((rule) => rule.endsWith('cordon'))).toEqual(['worker-cordon', 'worker-uncordon'])
  })

  test('that is no longer ready ends when it is uncordoned; one that has ended by itself is not kept', async () => {
    await open({ pools: [poolConfig({ work: 'hold', scale: { warm: 2 } })] })
    await h.pass(100)
    const [sick, dead] = [...h.engine.workers.live()].map((worker) => worker.id)
    for (const id of [sick ?? '', dead ?? '']) await h.engine.workers.cordon(id, ann)
    const at = (id: string | undefined) => h.provider().vendor.workers.get(id ?? '') ?? { ready: true, phase: '' }
    at(sick).ready = false
    at(dead).phase = 'exited'
    for (const id of [sick ?? '', dead ?? '']) h.provider().announce(id)
    await h.pass(100)
    expect(h.engine.workers.get(sick ?? '')?.phase).toBe('idle')
    expect(h.engine.workers.get(dead ?? '')).toBeUndefined()
    expect((await h.engine.workers.uncordon(sick ?? '', ann)).phase).toBe('terminating')
    await h.pass(100)
    expect(h.engine.workers.get(sick ?? '')).toBeUndefined()
  })
})

describe('a cordoned leased worker', () => {
  test.each([
    [3, 'idle', 'it goes on with its lease, and is left alone afterwards'],
    [1, undefined, 'it goes on with its lease, and ends with it: that is its last'],
  ])('goes on; afterwards, with %i uses, it is %s', async (uses, phase, told) => {
    await open({ pools: [poolConfig({ work: 'hold', uses })] })
    const lease = await ask()
    await h.pass(100)
    const id = only()
    await h.engine.workers.cordon(id, ann)
    expect(await lastDecision(id)).toBe(told)
    await h.pass(60_000)
    expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active', worker_id: id })
    await h.engine.leases.release(lease, { reason: 'done' })
    await h.pass(1000)
    expect(h.engine.workers.get(id)?.phase).toBe(phase)
    const next = await ask()
    await h.pass(1000)
    expect(h.engine.leases.get(next)?.worker_id).not.toBe(id)
  })

  test('before it is ready: its lease still gets it; one for the stock is of nobody', async () => {
    await open({ pools: [poolConfig({ work: 'hold', scale: { warm: 1 } })], providers: [{ name: 'one', readyMs: 5000 }] })
    await h.settle()
    const stock = only()
    await h.engine.workers.cordon(stock, ann)
    await h.settle()
    // Nobody waits for what it will be.
    expect(h.provider().vendor.made.length).toBe(2)
    const lease = await ask()
    await h.settle()
    const its = h.engine.leases.get(lease)?.worker_id ?? ''
    await h.engine.workers.cordon(its, ann)
    await h.pass(10_000)
    expect(its).not.toBe(stock)
    expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active', worker_id: its })
    expect(h.engine.workers.get(stock)).toMatchObject({ phase: 'idle', lease_id: null })
    expect(pool()).toMatchObject({ workers: { leased: 1, idle: 2 }, aside: 1 })
  })
})

// How many turns of the loop lie between the two decides which write comes first, and whether they share a commit.
test.each([0, 1, 2, 3, 4])('cordon and hand-out %i turns apart: the lease has it, or it is of nobody', async (turns) => {
  await open({ pools: [poolConfig({ work: 'hold', uses: 2, scale: { max: 1, warm: 1 } })] })
  await h.pass(100)
  const id = only()
  const asked = ask()
  for (let i = 0; i < turns; i++) await turn()
  const { phase } = await h.engine.workers.cordon(id, ann)
  const lease = await asked
  await h.pass(1000)
  const worker = h.engine.workers.get(id)
  expect(worker?.cordoned).toBe(1)
  // The operator was told that nobody has it: from then on nobody gets it.
  if (phase === 'idle') expect(worker?.phase).toBe('idle')
  if (worker?.phase === 'leased') expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active', worker_id: id })
  else {
    expect(worker).toMatchObject({ phase: 'idle', lease_id: null })
    expect(h.engine.leases.get(lease)?.state).toBe('queued')
    await h.engine.workers.uncordon(id, ann)
    await h.pass(1000)
    expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active', worker_id: id })
  }
})

test('what ends already is not cordoned, and what is not there is not found', async () => {
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? { delayMs: 1000 } : undefined) }] })
  await ask()
  await h.pass(100)
  const id = only()
  await h.engine.workers.terminate(id, { ...ann, force: true })
  await expect(h.engine.workers.cordon(id, ann)).rejects.toMatchObject({ code: 'conflict', hint: expect.stringContaining(id) })
  await h.pass(5000)
  await expect(h.engine.workers.cordon(id, ann)).rejects.toMatchObject({ code: 'not-found' })
  await expect(h.engine.workers.uncordon(id, ann)).rejects.toMatchObject({ code: 'not-found' })
})

test('each new word is one row, that of who said it last counts, and what is so already is none', async () => {
  await open({ pools: [poolConfig({ work: 'hold', scale: { min: 1 } })] })
  await h.pass(100)
  const id = only()
  const rows = async (): Promise<string[]> =>
    (await h.engine.journal.why('worker', id)).map((one) => one.rule).filter((rule) => rule.endsWith('cordon'))
  await h.engine.workers.uncordon(id, ann)
  expect(await rows()).toEqual([])
  await h.engine.workers.cordon(id, ann)
  await h.engine.workers.cordon(id, ann)
  expect(await rows()).toEqual(['worker-cordon'])
  expect(await h.engine.workers.cordon(id, { principal: 'bob', reason: 'a look' })).toMatchObject({
    cordon_reason: 'by bob: a look',
  })
  await h.engine.workers.uncordon(id, ann)
  await h.engine.workers.uncordon(id, ann)
  expect(await rows()).toEqual(['worker-cordon', 'worker-cordon', 'worker-uncordon'])
})
