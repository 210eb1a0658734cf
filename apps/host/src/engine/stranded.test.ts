/** A start with another version of a plugin than the one that workers belong to: what it does not show is neither lost nor gone by its word. */
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import { type ScriptedProvider, scriptedProvider } from './testing/vendor.ts'

let h: Harness
let older: ScriptedProvider
let newer: ScriptedProvider
beforeEach(() => open())
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function open(scale: Partial<PoolConfig['scale']> = {}): Promise<void> {
  h = await openHarness({ pools: [poolConfig({ work: 'hold', scale })], providers: [{ name: 'one' }] })
  older = h.provider()
  // It knows nothing of what the older one has made.
  newer = scriptedProvider({ name: 'one', version: '2.0.0', owner, clock: h.clock })
}

async function leased(): Promise<string> {
  const before = new Set([...h.engine.workers.live()].map((one) => one.id))
  await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  return [...h.engine.workers.live()].find((one) => !before.has(one.id))?.id ?? ''
}

/** As with a lock that was changed while no daemon ran. */
async function startWith(next: ScriptedProvider): Promise<void> {
  h.takeOver(next)
  await h.crash(1000)
  await h.pass(100)
}

/** It knows this worker of the older one from now on. */
function learn(id: string): void {
  const made = older.vendor.workers.get(id)
  if (made !== undefined) newer.vendor.workers.set(id, made)
}

const shown = (id: string): unknown[] => {
  const worker = h.engine.workers.get(id)
  return [worker?.phase, worker?.plugin_version]
}
const conditions = (): string[] => h.engine.conditions.list().map((one) => one.type)
const release = (id: string): Promise<unknown> =>
  h.engine.leases.release(h.engine.workers.get(id)?.lease_id ?? '', { reason: 'over' })

test('what the version that was started does not show is not lost; the one that it belongs to goes on with it', async () => {
  const id = await leased()
  await startWith(newer)
  await h.pass(200_000)
  expect([shown(id), conditions()]).toEqual([['leased', '1.0.0'], ['stranded']])
  const [condition] = h.engine.conditions.list()
  expect(condition?.message).toBe(
    '1 worker belongs to version 1.0.0 of its plugin, and 2.0.0, which was started, does not show it',
  )
  await startWith(older)
  await h.pass(100_000)
  expect([shown(id), conditions()]).toEqual([['leased', '1.0.0'], []])
})

test('another plugin of the same version is another one: what it does not show is not lost, and what it shows is its own', async () => {
  const id = await leased()
  const other = scriptedProvider({ name: 'one', package: '@muster-test/other', owner, clock: h.clock })
  await startWith(other)
  await h.pass(200_000)
  expect([shown(id), conditions()]).toEqual([['leased', '1.0.0'], ['stranded']])
  expect(h.engine.conditions.list()[0]?.message).toBe(
    '1 worker belongs to version 1.0.0 of @muster-test/vendor, and @muster-test/other 1.0.0, which was started, does not show it',
  )
  const made = older.vendor.workers.get(id)
  if (made !== undefined) other.vendor.workers.set(id, made)
  await h.pass(100_000)
  expect([h.engine.workers.get(id)?.plugin_package, conditions()]).toEqual(['@muster-test/other', []])
  older.vendor.workers.clear()
  await startWith(older)
  await h.pass(100_000)
  expect([shown(id), conditions()]).toEqual([['leased', '1.0.0'], ['stranded']])
})

test('a kept version has none of the workers of another plugin with its number', async () => {
  const id = await leased()
  const other = scriptedProvider({ name: 'one', package: '@muster-test/other', owner, clock: h.clock })
  await startWith(other)
  const next = scriptedProvider({ name: 'one', package: '@muster-test/other', version: '2.0.0', owner, clock: h.clock })
  await h.engine.upgrades.switch({
    ...{ principal: 'ann', alias: 'cloud', providers: ['one'], before: '1.0.0', after: '2.0.0' },
    ...{ package: '@muster-test/other', known: { one: [] } },
    keep: { providers: ['one'], tree: 'sha512-tree', content: 'folder' },
    commit: () => h.takeOver(next, { keep: true }),
  })
  await h.pass(200_000)
  expect([shown(id), h.engine.workers.get(id)?.plugin_package]).toEqual([['leased', '1.0.0'], '@muster-test/vendor'])
})

test('what takes over from another plugin of the same version has its workers, whoever is started', async () => {
  const [first, second] = [await leased(), await leased()]
  const other = scriptedProvider({ name: 'one', package: '@muster-test/other', owner, clock: h.clock })
  for (const id of [first, second]) {
    const made = older.vendor.workers.get(id)
    if (made !== undefined) other.vendor.workers.set(id, made)
  }
  await h.engine.upgrades.switch({
    ...{ principal: 'ann', alias: 'cloud', providers: ['one'], before: '1.0.0', after: '1.0.0' },
    ...{ package: '@muster-test/other', known: { one: [first, second] } },
    commit: () => h.takeOver(other),
  })
  other.vendor.workers.delete(first)
  await h.crash(1000)
  await h.pass(200_000)
  expect([shown(first), shown(second), conditions()]).toEqual([[undefined, undefined], ['leased', '1.0.0'], []])
})

test('the version that it belongs to accounts for it, and takes over again in the running daemon', async () => {
  const id = await leased()
  await startWith(newer)
  const { known, lost } = await h.engine.upgrades.account('one', { ask: older, handles: [1] })
  expect([known, lost]).toEqual([[id], []])
  await h.engine.upgrades.switch({
    ...{ principal: 'ann', alias: 'cloud', providers: ['one'], before: '2.0.0', after: '1.0.0', known: { one: known } },
    commit: () => h.takeOver(older),
  })
  await release(id)
  await h.pass(40_000)
  expect([shown(id), older.vendor.workers.size, conditions()]).toEqual([[undefined, undefined], 0, []])
})

test('an idle worker is handed out by a version that shows it alone', async () => {
  await h.close()
  await open({ warm: 1, max: 2 })
  await h.pass(100)
  const [id = ''] = [...h.engine.workers.live()].map((one) => one.id)
  expect(shown(id)).toEqual(['idle', '1.0.0'])
  await startWith(newer)
  const lease = await h.engine.leases.request(leaseRequest())
  await h.pass(10_000)
  const taken = h.engine.leases.get(lease.id)?.worker_id ?? ''
  expect([shown(id), shown(taken)]).toEqual([
    ['idle', '1.0.0'],
    ['leased', '2.0.0'],
  ])
  const next = await h.engine.leases.request(leaseRequest())
  await h.pass(10_000)
  expect(h.engine.leases.get(next.id)?.state).toBe('queued')
  learn(id)
  await h.pass(100_000)
  expect([h.engine.leases.get(next.id)?.worker_id, shown(id)]).toEqual([id, ['leased', '2.0.0']])
})

test('an idle worker is handed out by nobody who does not know it, also where a provider came back with another version and was never listed', async () => {
  await h.close()
  await open({ warm: 1, max: 2 })
  await h.pass(100)
  const [id = ''] = [...h.engine.workers.live()].map((one) => one.id)
  await h.engine.pools.pause('ci', { principal: 'ann' })
  h.gone.add('one')
  newer.list = async () => Promise.reject(new ProviderError('transient', 'it does not answer'))
  await startWith(newer)
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const pools = [poolConfig({ work: 'hold', scale: { warm: 1, max: 2 } })]
  const commit = (): void => void h.gone.delete('one')
  await h.engine.configure({ pools, ...settings }, { principal: 'ann', changes: ['it'], commit })
  const lease = await h.engine.leases.request(leaseRequest())
  await h.engine.pools.resume('ci', { principal: 'ann' })
  await h.pass(1000)
  const taken = h.engine.leases.get(lease.id)?.worker_id ?? ''
  expect([shown(id), shown(taken)]).toEqual([
    ['idle', '1.0.0'],
    ['leased', '2.0.0'],
  ])
})

test('what it shows is its own from then on, by its list or by name, and lost when it says so', async () => {
  const [listed, named] = [await leased(), await leased()]
  learn(listed)
  learn(named)
  const { list } = newer
  newer.list = async (query) => {
    const page = await list(query)
    return { ...page, workers: page.workers.filter((one) => one.id !== named) }
  }
  await startWith(newer)
  await h.pass(100_000)
  expect([shown(listed), shown(named), conditions()]).toEqual([['leased', '2.0.0'], ['leased', '2.0.0'], []])
  newer.vendor.workers.delete(listed)
  await h.pass(100_000)
  expect(shown(listed)).toEqual([undefined, undefined])
})

test('nobody is gone by the word of one that does not know it: its end waits for one that does, or for an operator', async () => {
  const [first, second] = [await leased(), await leased()]
  await startWith(newer)
  await release(first)
  await release(second)
  await h.pass(200_000)
  expect([shown(first), shown(second)]).toEqual([
    ['terminating', '1.0.0'],
    ['terminating', '1.0.0'],
  ])
  const ann = { principal: 'ann', reason: 'looked' }
  await h.engine.workers.terminate(first, { ...ann, force: true })
  await h.pass(1000)
  expect(newer.vendor.calls.filter(({ method }) => method === 'terminate')).toEqual([])
  await h.engine.workers.forget(first, ann)
  learn(second)
  await h.pass(100_000)
  expect([shown(first), shown(second), newer.vendor.workers.has(second), conditions()]).toEqual([
    [undefined, undefined],
    [undefined, undefined],
    false,
    [],
  ])
})

test('a worker that was starting stays, and another version does not account for it because nobody who runs knows it', async () => {
  await h.engine.leases.request(leaseRequest())
  await h.settle()
  const id = [...h.engine.workers.live()][0]?.id ?? ''
  expect(h.engine.workers.get(id)?.phase).toBe('starting')
  await startWith(newer)
  await h.pass(30_000)
  expect(shown(id)).toEqual(['starting', '1.0.0'])
  const third = scriptedProvider({ name: 'one', version: '3.0.0', owner, clock: h.clock })
  const account = await h.engine.upgrades.account('one', { ask: third, handles: [1] })
  expect(account).toEqual({ known: [], lost: [{ worker: id, why: 'it neither lists it nor knows it by name' }] })
  // It stays with the version that made it, which is none of the two.
  await h.engine.upgrades.switch({
    ...{ principal: 'ann', alias: 'cloud', providers: ['one'], before: '2.0.0', after: '3.0.0', known: { one: [] } },
    keep: { providers: ['one'], tree: 'sha512-tree', content: 'folder' },
    commit: () => h.takeOver(third, { keep: true }),
  })
  await h.pass(10_000)
  expect(shown(id)).toEqual(['starting', '1.0.0'])
})
