/** Whether another version of a plugin accounts for the workers that live, and what is written of it. */
import { ProviderError, type WorkerObservation, type WorkerPage } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from './testing/harness.ts'
import { scriptedProvider } from './testing/vendor.ts'
import type { Accountable } from './upgrade-api.ts'

let h: Harness
beforeEach(async () => {
  h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }] })
})
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function workers(count: number): Promise<string[]> {
  for (let n = 0; n < count; n++) await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  return [...h.engine.workers.live()].map((one) => one.id)
}

const handles = [1]
/** What a version shows of what the vendor has: all but these in its list, all but those by name. */
function version({ unlisted = [], unknown = [] }: { unlisted?: string[]; unknown?: string[] } = {}): Accountable['ask'] {
  const running = h.provider()
  const only = (seen: readonly WorkerObservation[], hidden: string[]): WorkerObservation[] =>
    seen.filter(({ id }) => !hidden.includes(id))
  return {
    list: async (query) => {
      const page = await running.list(query)
      return { ...page, workers: only(page.workers, [...unlisted, ...unknown]) }
    },
    inspect: async (targets) => only(await running.inspect(targets), unknown),
  }
}

test('one that lists all, or knows by name what its list does not show yet, accounts for all', async () => {
  const ids = await workers(3)
  expect(await h.engine.upgrades.account('one', { ask: version(), handles })).toEqual({ known: ids, lost: [] })
  const late = version({ unlisted: ids.slice(0, 1) })
  expect(await h.engine.upgrades.account('one', { ask: late, handles })).toEqual({ known: ids, lost: [] })
})

test('one that does not know a worker is told which; where nobody knows it, it is nobody’s to account for', async () => {
  const [first = '', second = '', third = ''] = await workers(3)
  const lost = { worker: first, why: 'it neither lists it nor knows it by name' }
  expect(await h.engine.upgrades.account('one', { ask: version({ unknown: [first] }), handles })).toEqual({
    known: [second, third],
    lost: [lost],
  })
  h.provider().vendor.workers.delete(second)
  expect(await h.engine.upgrades.account('one', { ask: version(), handles })).toEqual({ known: [first, third], lost: [] })
})

test('nobody is gone because the version that runs does not answer', async () => {
  const [first = ''] = await workers(1)
  const ask = version({ unknown: [first] })
  h.provider().vendor.workers.delete(first)
  const { inspect } = h.provider()
  h.provider().inspect = async () => {
    throw new ProviderError('transient', 'down', { effect: 'none' })
  }
  const candidate: Accountable = { ask: { ...ask, inspect: async () => [] }, handles }
  expect((await h.engine.upgrades.account('one', candidate)).lost).toMatchObject([{ worker: first }])
  h.provider().inspect = inspect
})

test('a handle that it cannot read is a worker that it cannot reach', async () => {
  const [first = ''] = await workers(1)
  expect(await h.engine.upgrades.account('one', { ask: version(), handles: [3, 2] })).toEqual({
    known: [],
    lost: [{ worker: first, why: 'it cannot read its handle, which is of version 1' }],
  })
})

test('what is launched while it is asked is asked for as well', async () => {
  await workers(1)
  const ask = version()
  let asked = 0
  const list: Accountable['ask']['list'] = async (query) => {
    if (asked++ === 0) await workers(1)
    return ask.list(query)
  }
  expect(await h.engine.upgrades.account('one', { ask: { ...ask, list }, handles })).toMatchObject({
    known: { length: 2 },
    lost: [],
  })
})

test('all pages are read, and a list that never ends is a fault', async () => {
  const ids = await workers(3)
  const pages = (next: (cursor: string | undefined) => string | undefined): Accountable['ask'] => ({
    list: async ({ cursor }): Promise<WorkerPage> => {
      const { workers: all, asOf } = await h.provider().list({ limit: 500 })
      const at = next(cursor)
      const shown = all.filter(({ id }) => id === ids[Number(cursor ?? 0)])
      return { workers: shown, asOf, ...(at === undefined ? {} : { next: at }) }
    },
    inspect: async () => [],
  })
  const three = pages((cursor) => (cursor === '2' ? undefined : String(Number(cursor ?? 0) + 1)))
  expect(await h.engine.upgrades.account('one', { ask: three, handles })).toEqual({ known: ids, lost: [] })
  const endless = h.engine.upgrades.account('one', { ask: pages(() => '1'), handles })
  await expect(endless).rejects.toMatchObject({ code: 'internal', message: 'its list never ends', effect: 'none' })
})

test('a start with the version from before a switch is told once; another lock than both is somebody’s choice', async () => {
  const how = { principal: 'ann', alias: 'cloud', providers: ['one'], known: {}, commit: () => undefined }
  const started = (version: string): Promise<object[]> => h.engine.upgrades.wentBack(new Map([['one', { version }]]))
  expect(await started('1.0.0')).toEqual([])
  await h.engine.upgrades.switch({ ...how, before: '1.0.0', after: '2.0.0' })
  expect(await started('2.0.0')).toEqual([])
  expect(await started('1.0.0')).toEqual([{ provider: 'one', before: '1.0.0', after: '2.0.0' }])
  expect((await h.engine.journal.why('provider', 'one')).at(-1)).toMatchObject({
    rule: 'plugin-went-back',
    decision: 'version 1.0.0 of its plugin was started, as the lock says, although 2.0.0 had taken over from it',
    change:
      'The lock is as it was before the switch: it was never written, or was put back. muster plugins upgrade names version 2.0.0 again.',
  })
  expect(await started('1.0.0')).toEqual([])
  await h.engine.upgrades.switch({ ...how, before: '2.0.0', after: '3.0.0' })
  expect(await started('4.0.0')).toEqual([])
  expect(await started('2.0.0')).toEqual([])
})

test('a lock that was written after the switch is a choice; one that is as it was then was never written', async () => {
  const how = { principal: 'ann', alias: 'cloud', providers: ['one'], known: {}, commit: () => undefined }
  const started = (locked: string): Promise<object[]> =>
    h.engine.upgrades.wentBack(new Map([['one', { version: '1.0.0', locked }]]))
  await h.engine.upgrades.switch({ ...how, before: '1.0.0', after: '2.0.0', locked: 'as it was' })
  expect(await started('rolled back')).toEqual([])
  await h.engine.upgrades.switch({ ...how, before: '1.0.0', after: '2.0.0', locked: 'as it was' })
  expect(await started('as it was')).toHaveLength(1)
})

test('a lock that a start has found written is somebody’s choice when it is put back as it was', async () => {
  const how = { principal: 'ann', alias: 'cloud', providers: ['one'], known: {}, commit: () => undefined }
  const started = (version: string, locked: string): Promise<object[]> =>
    h.engine.upgrades.wentBack(new Map([['one', { version, locked }]]))
  await h.engine.upgrades.switch({ ...how, before: '1.0.0', after: '2.0.0', locked: 'as it was' })
  expect(await started('2.0.0', 'written')).toEqual([])
  expect(await started('1.0.0', 'as it was')).toEqual([])
})

test('another configuration that lets another version take over is a choice too', async () => {
  const how = { principal: 'ann', alias: 'cloud', providers: ['one'], known: {}, commit: () => undefined }
  await h.engine.upgrades.switch({ ...how, before: '1.0.0', after: '2.0.0' })
  const next = { pools: [poolConfig({ work: 'hold' })], reconcileMs: 30_000, orphanGraceMs: 120_000 }
  const kept = { recordsMs: 1e12, journalMs: 1e12 }
  const applied = {
    principal: 'ann',
    changes: [],
    versions: { one: { version: '1.0.0', package: '@muster-test/vendor' } },
    commit: () => undefined,
  }
  await h.engine.configure({ ...next, retention: kept }, applied)
  expect(await h.engine.upgrades.wentBack(new Map([['one', { version: '1.0.0' }]]))).toEqual([])
})

test('the switch is made once its row is durable; a refusal is a row as well', async () => {
  const how = { principal: 'ann', alias: 'cloud', before: '1.0.0', after: '2.0.0', providers: ['one'] }
  let commits = 0
  const commit = (): void => void (commits += 1)
  h.ill = 'full'
  await expect(h.engine.upgrades.switch({ ...how, known: { one: ['w1', 'w2'] }, commit })).rejects.toMatchObject({ code: 'full' })
  expect(commits).toBe(0)
  h.ill = undefined
  await h.engine.upgrades.switch({ ...how, known: { one: ['w1', 'w2'] }, commit })
  await h.engine.upgrades.refuse({ ...how, reason: 'it lost one', lost: ['w1'] })
  expect(commits).toBe(1)
  const rows = await h.engine.journal.why('provider', 'one')
  expect(rows.map(({ rule, decision, inputs }) => [rule, decision, JSON.parse(inputs) as unknown])).toEqual([
    [
      'plugin-upgraded',
      'version 2.0.0 of its plugin takes over from 1.0.0',
      { principal: 'ann', alias: 'cloud', before: '1.0.0', after: '2.0.0', workers: 2 },
    ],
    [
      'plugin-refused',
      'version 1.0.0 of its plugin goes on: it lost one',
      { principal: 'ann', alias: 'cloud', before: '1.0.0', after: '2.0.0', lost: ['w1'] },
    ],
  ])
})

test('what waited for a version that answers no more is done by the next as soon as that has taken over', async () => {
  h.provider().setState('failed', { reason: 'it crashed too often' })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  expect(h.engine.leases.get(id)?.state).toBe('queued')
  const next = scriptedProvider({ name: 'one', version: '2.0.0', owner, clock: h.clock })
  const how = { principal: 'ann', alias: 'cloud', before: '1.0.0', after: '2.0.0', providers: ['one'], known: {} }
  await h.engine.upgrades.switch({ ...how, commit: () => h.takeOver(next) })
  await h.settle()
  expect(next.vendor.made).toEqual([h.engine.leases.get(id)?.worker_id])
})
