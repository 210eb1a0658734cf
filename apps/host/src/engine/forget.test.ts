/** Records that an operator closes because nothing else can. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness
/** What happens to a terminate. */
let ending: Fault | undefined

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig()],
    providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? ending : undefined) }],
    ...options,
  })
}
afterEach(async () => {
  ending = undefined
  expect(h.reports).toEqual([])
  await h.close()
})

const ann = { principal: 'ann', reason: 'its node burned down' }
const broken: Fault = { error: new ProviderError('transient', 'no answer') }
const ask = async (): Promise<string> => (await h.engine.leases.request(leaseRequest())).id
const only = (): string => [...h.engine.workers.live()][0]?.id ?? ''
const terminates = (id: string): number =>
  h.provider().vendor.calls.filter((call) => call.method === 'terminate' && call.id === id).length
const conditions = (): string[] => h.engine.conditions.list().map(({ name, type }) => `${name} ${type}`)

test('only what is stuck is forgotten; of the rest it is said what to do first', async () => {
  await open()
  const lease = await ask()
  await h.pass(100)
  const id = only()
  await expect(h.engine.workers.forget(id, ann)).rejects.toMatchObject({
    code: 'conflict',
    hint: `First: muster workers terminate ${id} --force`,
  })
  expect(h.engine.leases.get(lease)?.state).toBe('active')
  ending = { delayMs: 3000, error: new ProviderError('transient', 'no answer') }
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.settle()
  // Its end is under way, and may well be confirmed.
  await expect(h.engine.workers.forget(id, ann)).rejects.toMatchObject({
    code: 'conflict',
    hint: expect.stringContaining('--force'),
  })
  await h.pass(3500)
  expect(await h.engine.workers.forget(id, ann)).toMatchObject({ end: 'disowned', phase: 'terminated' })
  await expect(h.engine.workers.forget(id, ann)).rejects.toMatchObject({ code: 'not-found' })
  const last = (await h.engine.journal.why('worker', id)).at(-1)
  expect(last).toMatchObject({ rule: 'worker-forgotten', decision: 'closed: disowned' })
  expect(JSON.parse(last?.inputs ?? '{}')).toMatchObject({ principal: 'ann', reason: 'its node burned down', asked: 'done' })
})

test('a try that waits is never made', async () => {
  await open()
  ending = broken
  const lease = await ask()
  await h.pass(100)
  const id = only()
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(60_000)
  expect(conditions()).toEqual(['one terminate-failing'])
  const before = terminates(id)
  expect(before).toBeGreaterThan(2)
  await h.engine.workers.forget(id, ann)
  ending = undefined
  h.provider().vendor.workers.delete(id)
  await h.pass(600_000)
  expect(terminates(id)).toBe(before)
  expect([...h.engine.workers.live()]).toEqual([])
  expect(conditions()).toEqual([])
})

test('what an open try says later is no trouble of its provider any more', async () => {
  await open()
  ending = broken
  await ask()
  await h.pass(100)
  const id = only()
  await h.engine.workers.terminate(id, { ...ann, force: true })
  while (h.engine.workers.get(id)?.attempt !== 2) await h.pass(100)
  ending = { delayMs: 5000, ...broken }
  while (terminates(id) < 3) await h.pass(100)
  await h.engine.workers.forget(id, ann)
  await h.pass(20_000)
  expect([conditions(), terminates(id)]).toEqual([[], 3])
})

test.each([
  ['says gone', {}],
  ['fails', { error: new ProviderError('transient', 'no answer') }],
  ['was not sent', { error: new ProviderError('cancelled', 'not sent', { effect: 'none' as const }) }],
  ['knows it not', { error: new ProviderError('not-found', 'no such worker') }],
])('a call that is open is dropped, and its late answer changes nothing: it %s', async (_name, outcome) => {
  await open()
  // The vendor goes on with what was asked, though nobody reads its answer.
  ending = { delayMs: 20_000, late: true, ...outcome }
  const lease = await ask()
  await h.pass(100)
  const id = only()
  await h.engine.workers.terminate(id, { ...ann, force: true })
  await h.settle()
  expect(terminates(id)).toBe(1)
  const closed = await h.engine.workers.forget(id, ann)
  await h.pass(300_000)
  expect(await h.engine.workers.find(id)).toMatchObject({
    end: 'disowned',
    rev: closed.rev,
    terminate_reason: closed.terminate_reason,
  })
  expect(await h.engine.leases.find(lease)).toMatchObject({ end: 'cancelled' })
  const rows = (await h.engine.journal.why('worker', id)).map((row) => row.rule)
  expect(rows.filter((rule) => rule.startsWith('worker-gone') || rule === 'terminate-retry')).toEqual([])
})

test('a call that hangs has no place any more once its worker is forgotten, and those that wait are made', async () => {
  let stuck = ''
  const hangs: Fault = { delayMs: 86_400_000 }
  const fault = (method: string, id: string | undefined): Fault | undefined =>
    method === 'terminate' && id === stuck ? hangs : undefined
  await open({ providers: [{ name: 'one', inFlight: 2, fault }] })
  await ask()
  await h.pass(100)
  stuck = only()
  const other = await ask()
  await h.pass(100)
  await h.engine.workers.terminate(stuck, { ...ann, force: true })
  await h.engine.leases.release(other, { reason: 'done' })
  await h.pass(60_000)
  expect(h.provider().vendor.workers.size).toBe(2)
  await h.engine.workers.forget(stuck, ann)
  await h.pass(100)
  expect([...h.provider().vendor.workers.keys()]).toEqual([stuck])
})

test('one that says gone although nobody asks any more changes nothing', async () => {
  await open()
  const answer = Promise.withResolvers<{ state: 'gone' }>()
  h.provider().terminate = () => answer.promise
  await ask()
  await h.pass(100)
  const id = only()
  await h.engine.workers.terminate(id, { ...ann, force: true })
  await h.settle()
  const closed = await h.engine.workers.forget(id, ann)
  answer.resolve({ state: 'gone' })
  await h.pass(1000)
  expect(await h.engine.workers.find(id)).toMatchObject({ end: 'disowned', rev: closed.rev })
})

test('that workers cannot be terminated is told until the last such one is forgotten', async () => {
  await open()
  ending = broken
  await ask()
  await ask()
  await h.pass(100)
  const ids = [...h.engine.workers.live()].map((worker) => worker.id)
  for (const id of ids) await h.engine.workers.terminate(id, { ...ann, force: true })
  await h.pass(60_000)
  const told: string[][] = []
  for (const id of ids) {
    await h.engine.workers.forget(id, ann)
    await h.settle()
    told.push(conditions())
  }
  expect(told).toEqual([['one terminate-failing'], []])
})

test.each([false, true])(
  'what the vendor still has is an orphan, and is removed as one; with a kill between: %s',
  async (kill) => {
    await open()
    ending = broken
    await ask()
    await h.pass(100)
    const id = only()
    await h.engine.workers.terminate(id, { ...ann, force: true })
    await h.settle()
    await h.engine.workers.forget(id, ann)
    if (kill) await h.crash()
    ending = undefined
    expect(h.provider().vendor.workers.has(id)).toBe(true)
    await h.pass(60_000)
    expect((await h.engine.journal.why('worker', id)).map((row) => row.rule)).toContain('orphan-quarantined')
    // Room in its pool is there from the beginning: nobody counts it any more.
    expect(h.engine.pools.get('ci')?.workers).toEqual({})
    await h.pass(150_000)
    expect(h.provider().vendor.workers.has(id)).toBe(false)
    expect((await h.engine.journal.why('worker', id)).map((row) => row.rule)).toContain('orphan-gone')
    expect(await h.engine.workers.find(id)).toMatchObject({ end: 'disowned' })
  },
)

test('of a provider that has failed every worker may be, with its lease', async () => {
  await open()
  const lease = await ask()
  await h.pass(100)
  const id = only()
  h.provider().setState('failed', { reason: 'its config is refused' })
  await h.engine.workers.forget(id, ann)
  expect(await h.engine.leases.find(lease)).toMatchObject({
    state: 'ended',
    end: 'cancelled',
    end_reason: 'its worker was forgotten by ann: its node burned down',
  })
  const row = (await h.engine.journal.why('lease', lease)).at(-1)
  expect(row).toMatchObject({ rule: 'worker-forgotten', worker_id: id })
  expect(JSON.parse(row?.inputs ?? '{}')).toMatchObject({ lease: 'ends' })
  h.provider().setState('ready')
  await h.pass(200_000)
  expect(h.provider().vendor.workers.size).toBe(0)
})

test('a lease whose worker was only being made waits for another', async () => {
  const providers = [{ name: 'one', fault: (): Fault => ({ delayMs: 20_000 }) }, { name: 'two' }]
  await open({ pools: [poolConfig({ placement: ['one', 'two'] })], providers })
  const lease = await ask()
  await h.settle()
  const id = only()
  h.provider('one').setState('failed')
  expect(await h.engine.workers.forget(id, ann)).toMatchObject({ phase: 'failed', end: 'disowned' })
  await h.pass(1000)
  expect(h.engine.leases.get(lease)).toMatchObject({ state: 'active' })
  expect(h.provider('two').vendor.workers.size).toBe(1)
  const row = (await h.engine.journal.why('worker', id)).find(({ rule }) => rule === 'worker-forgotten')
  expect(JSON.parse(row?.inputs ?? '{}')).toMatchObject({ lease: 'waits again' })
})

test('of a provider that is configured no longer: its last one clears what was said of it', async () => {
  await open({ pools: [poolConfig()], providers: [{ name: 'one' }, { name: 'two' }] })
  const ids = [await ask(), await ask()]
  await h.pass(100)
  h.absent.add('one')
  await h.crash()
  expect(conditions()).toEqual(['one missing'])
  const workers = [...h.engine.workers.live()].map((worker) => worker.id)
  await h.engine.workers.forget(workers[0] ?? '', ann)
  expect(conditions()).toEqual(['one missing'])
  await h.engine.workers.forget(workers[1] ?? '', ann)
  expect(conditions()).toEqual([])
  for (const id of ids) expect(await h.engine.leases.find(id)).toMatchObject({ end: 'cancelled' })
  h.absent.clear()
  await h.crash()
  await h.pass(200_000)
  expect(h.provider('one').vendor.workers.size).toBe(0)
})
