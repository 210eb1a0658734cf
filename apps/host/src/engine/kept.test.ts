/** An older version of a plugin that stays for its workers: who serves whom, what is never taken for gone, and when it ends. */
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import { type Fault, type ScriptedProvider, scriptedProvider } from './testing/vendor.ts'

let h: Harness
let older: ScriptedProvider
let newer: ScriptedProvider
/** What happens to calls of the older version. */
let fault: ((method: string, id: string | undefined) => Fault | undefined) | undefined
beforeEach(async () => {
  fault = undefined
  const pools = [poolConfig({ work: 'hold' })]
  h = await openHarness({ pools, providers: [{ name: 'one', fault: (method, id) => fault?.(method, id) }] })
  older = h.provider()
  // It knows nothing of what the older one has made.
  newer = scriptedProvider({ name: 'one', version: '2.0.0', owner, clock: h.clock })
})
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function workers(count: number): Promise<string[]> {
  const before = new Set([...h.engine.workers.live()].map((one) => one.id))
  for (let n = 0; n < count; n++) await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  return [...h.engine.workers.live()].map((one) => one.id).filter((id) => !before.has(id))
}

const how = { principal: 'ann', alias: 'cloud', providers: ['one'] }
const files = { tree: 'sha512-tree', content: 'folder' }
async function switchTo(next: ScriptedProvider, known: string[], keep = true): Promise<void> {
  const before = h.provider().manifest.version
  await h.engine.upgrades.switch({
    ...how,
    ...{ before, after: next.manifest.version, known: { one: known } },
    ...(keep ? { keep: { providers: ['one'], ...files } } : {}),
    commit: () => h.takeOver(next, { keep }),
  })
  await h.settle()
}

const version = (id: string): string | null | undefined => h.engine.workers.get(id)?.plugin_version
const phases = (ids: readonly string[]): (string | undefined)[] => ids.map((id) => h.engine.workers.get(id)?.phase)
const kept = (): unknown => h.engine.plugins.find('one')?.status().kept?.version
const conditions = (): string[] => h.engine.conditions.list().map((one) => one.type)
const rows = (): Promise<unknown[]> => h.engine.store.read.selectFrom('kept_plugins').selectAll().execute()
const decisions = async (): Promise<string[]> =>
  (await h.engine.journal.why('provider', 'one')).filter(({ rule }) => rule.startsWith('plugin-')).map(({ decision }) => decision)
async function release(id: string): Promise<void> {
  await h.engine.leases.release(h.engine.workers.get(id)?.lease_id ?? '', { reason: 'over' })
  await h.pass(100)
}

test('each worker is served by the version that it belongs to, and is neither lost nor doubled; the older one ends with its last', async () => {
  const [first = '', second = ''] = await workers(2)
  const before = h.engine.workers.get(first)?.rev
  await switchTo(newer, [])
  expect(h.engine.workers.get(first)?.rev).toBe(before)
  const [third = ''] = await workers(1)
  expect([first, second, third].map(version)).toEqual(['1.0.0', '1.0.0', '2.0.0'])
  expect([...older.vendor.workers.keys(), '|', ...newer.vendor.workers.keys()]).toEqual([first, second, '|', third])
  expect([kept(), conditions()]).toEqual(['1.0.0', ['kept']])
  for (let round = 0; round < 3; round++) await h.engine.reconcile('one')
  await h.pass(200_000)
  expect(phases([first, second, third])).toEqual(['leased', 'leased', 'leased'])
  expect(await h.engine.orphans('one')).toEqual([])
  const page = await h.engine.plugins.provider('one').list({ limit: 500 })
  const next = await h.engine.plugins.provider('one').list({ limit: 500, cursor: page.next ?? '' })
  expect([page.workers.map(({ id }) => id), next.workers.map(({ id }) => id), next.next]).toEqual([
    [third],
    [first, second],
    undefined,
  ])

  await release(first)
  expect(older.vendor.calls.filter(({ method }) => method === 'terminate').map(({ id }) => id)).toEqual([first])
  expect([h.engine.workers.get(first), kept()]).toEqual([undefined, '1.0.0'])
  await release(second)
  expect([kept(), await rows(), conditions(), phases([third])]).toEqual([undefined, [], [], ['leased']])
  expect(newer.vendor.calls.filter(({ method }) => method === 'terminate')).toEqual([])
  expect(await decisions()).toEqual([
    'version 2.0.0 of its plugin takes over from 1.0.0',
    'version 1.0.0 of its plugin goes on beside',
    'version 1.0.0 of its plugin ends: its last worker is gone',
  ])
})

test('a host that dies keeps it, and one that died in the moment in which the last worker went does not', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  await h.crash(1000)
  await h.pass(100_000)
  expect([kept(), phases([first]), conditions()]).toEqual(['1.0.0', ['leased'], ['kept']])
  expect(await rows()).toMatchObject([{ provider: 'one', version: '1.0.0', ...files }])
  h.crashAt('gone-not-closed')
  await release(first)
  expect(h.crashed).toBe(true)
  await h.crash()
  await h.pass(100_000)
  expect([h.engine.workers.get(first), kept(), await rows()]).toEqual([undefined, undefined, []])
})

test('what the newer one accounts for is its own; a launch that may have been sent ends where it began', async () => {
  const [mine = '', theirs = ''] = await workers(2)
  newer.vendor.workers.set(mine, older.vendor.workers.get(mine) as never)
  fault = (method) => (method === 'launch' ? { error: new ProviderError('transient', 'no answer'), effect: false } : undefined)
  await h.engine.leases.request(leaseRequest())
  await h.settle()
  const doubtful = [...h.engine.workers.live()].find((one) => one.phase === 'launching')?.id ?? ''
  await switchTo(newer, [mine])
  fault = undefined
  await h.pass(30_000)
  expect([mine, theirs, doubtful].map(version)).toEqual(['2.0.0', '1.0.0', '1.0.0'])
  expect(phases([mine, theirs, doubtful])).toEqual(['leased', 'leased', 'leased'])
  expect([newer.vendor.made, older.vendor.made]).toEqual([[], [mine, theirs, doubtful]])
})

test('while the older one is down its workers stay, and those of the newer one are looked after as ever', async () => {
  const [theirs = ''] = await workers(1)
  await switchTo(newer, [])
  const [mine = '', lost = ''] = await workers(2)
  fault = () => ({ error: new ProviderError('transient', 'down', { effect: 'none' }) })
  older.vendor.workers.delete(theirs)
  newer.vendor.workers.delete(lost)
  await h.pass(100_000)
  expect(phases([theirs, mine, lost])).toEqual(['leased', 'leased', undefined])
  // One that starts is followed although the other cannot be asked for one that ends.
  await h.engine.workers.terminate(theirs, { principal: 'ann', reason: 'test', force: true })
  const [fresh = ''] = await workers(1)
  expect(phases([theirs, fresh])).toEqual(['terminating', 'leased'])
  fault = undefined
  await h.pass(100_000)
  expect([phases([theirs]), kept()]).toEqual([[undefined], undefined])
})

test('while the newer one is down the workers of the older one can be ended', async () => {
  const [theirs = ''] = await workers(1)
  await switchTo(newer, [])
  const [mine = ''] = await workers(1)
  h.provider().setState('quarantined', { reason: 'it broke the protocol' })
  await release(theirs)
  await release(mine)
  expect(phases([theirs, mine])).toEqual([undefined, 'terminating'])
})

test('going back while it is kept makes it the one that runs; what only the newer one has stays with that', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  const [second = ''] = await workers(1)
  await switchTo(older, [first])
  await h.pass(100_000)
  expect([kept(), [first, second].map(version), phases([first, second])]).toEqual([
    '2.0.0',
    ['1.0.0', '2.0.0'],
    ['leased', 'leased'],
  ])
  await release(second)
  expect([kept(), phases([first])]).toEqual([undefined, ['leased']])
})

test('what a host that died still showed of a version that had ended is cleared by the next', async () => {
  h.engine.conditions.raise({ scope: 'provider', name: 'one', type: 'kept', message: 'it goes on', hint: 'see it' })
  await h.settle()
  await h.crash()
  expect(conditions()).toEqual([])
})

test('another version that accounts for all ends it at once', async () => {
  const ids = await workers(2)
  await switchTo(newer, [])
  const third = scriptedProvider({ name: 'one', version: '3.0.0', owner, clock: h.clock, vendor: older.vendor })
  const { known, lost } = await h.engine.upgrades.account('one', { ask: third, handles: [1] })
  expect([known, lost]).toEqual([ids, []])
  // One that does not is told which version each of those it lost is kept by.
  const none = await h.engine.upgrades.account('one', { ask: newer, handles: [1] })
  expect(none.lost.map((one) => [one.worker, one.kept])).toEqual(ids.map((id) => [id, '1.0.0']))
  await switchTo(third, known, false)
  expect(ids.map(version)).toEqual(['3.0.0', '3.0.0'])
  await h.pass(100_000)
  expect([kept(), await rows(), ids.map(version), phases(ids)]).toEqual([undefined, [], ['3.0.0', '3.0.0'], ['leased', 'leased']])
})

/** Made by the older version, with no record: of a store that was restored, or a launch whose answer nobody took. */
function orphanOf(worker: string): string {
  const id = `w${'9'.repeat(26)}`
  const made = older.vendor.workers.get(worker)
  if (made === undefined) throw new Error('there is no such worker')
  older.vendor.workers.set(id, { ...made, spec: { ...made.spec, id, tags: { ...made.spec.tags, 'muster-worker': id } } })
  return id
}

test('it does not end with its last record while it alone shows a worker without one: it removes that first', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  // No list has shown it yet when the last worker goes.
  const orphan = orphanOf(first)
  await release(first)
  expect([h.engine.workers.get(first), kept(), (await rows()).length, conditions()]).toEqual([undefined, '1.0.0', 1, ['kept']])
  expect((await h.engine.orphans('one')).map((one) => one.id)).toEqual([orphan])
  await h.pass(60_000)
  expect(kept()).toBe('1.0.0')
  await h.pass(120_000)
  expect([older.vendor.workers.size, kept(), await rows(), conditions()]).toEqual([0, undefined, [], []])
  expect((await h.engine.journal.why('worker', orphan)).at(-1)).toMatchObject({ rule: 'orphan-gone', decision: 'closed: gone' })
})

test('it does not end before a list has shown all that it has, unless nobody can ever ask it', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  fault = (method) => (method === 'list-page' ? { error: new ProviderError('transient', 'down', { effect: 'none' }) } : undefined)
  await release(first)
  await h.pass(100_000)
  expect([h.engine.workers.get(first), kept()]).toEqual([undefined, '1.0.0'])
  older.setState('failed', { reason: 'it crashed too often' })
  await h.pass(100)
  expect([kept(), await rows()]).toEqual([undefined, []])
})

test('one whose last worker went with the host before ends with the first list of all', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  const orphan = orphanOf(first)
  h.crashAt('gone-not-closed')
  await release(first)
  await h.crash()
  await h.pass(10_000)
  expect([h.engine.workers.get(first), kept()]).toEqual([undefined, '1.0.0'])
  await h.crash()
  await h.pass(10_000)
  expect(kept()).toBe('1.0.0')
  await h.pass(200_000)
  expect([older.vendor.workers.has(orphan), kept()]).toEqual([false, undefined])
})

test('of a provider that the configuration names no longer nothing stays kept', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  h.absent.add('one')
  await h.crash()
  await h.pass(100)
  // As long as its worker lives it may be named again.
  expect([(await rows()).length, phases([first])]).toEqual([1, ['leased']])
  await h.engine.workers.forget(first, { principal: 'ann', reason: 'gone' })
  await h.pass(100)
  expect(await rows()).toEqual([])
})

/** The configuration names the provider no longer. */
async function leave(): Promise<void> {
  const pools = [poolConfig({ work: 'hold', placement: [] })]
  await h.engine.configure(
    { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 }, pools },
    { principal: 'ann', changes: [{}], commit: () => h.leaving.add('one') },
  )
}

test('nor of one that had none left when it was named no longer, or that leaves now', async () => {
  const row = { provider: 'one', version: '0.9.0', ...files, since: 1 }
  await h.engine.store.write((tx) => tx.insertInto('kept_plugins').values(row).execute())
  h.absent.add('one')
  await h.crash()
  await h.pass(100)
  expect(await rows()).toEqual([])
  h.absent.delete('one')
  await h.crash()
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  await leave()
  // It has one without a record as well, which the other version does not know.
  const orphan = orphanOf(first)
  await release(first)
  expect([[...h.gone], (await rows()).length]).toEqual([[], 1])
  await h.pass(200_000)
  expect(older.vendor.workers.has(orphan)).toBe(false)
  expect([[...h.gone], await rows()]).toEqual([['one'], []])
})

test('a provider that leaves and cannot be asked any more waits for no list of what was kept', async () => {
  const [first = ''] = await workers(1)
  await switchTo(newer, [])
  await leave()
  newer.setState('failed', { reason: 'it crashed too often' })
  newer.list = () => Promise.reject(new ProviderError('transient', 'down', { effect: 'none' }))
  await release(first)
  await h.pass(60_000)
  expect([[...h.gone], await rows()]).toEqual([['one'], []])
})
