/** Two versions of a plugin as one provider: pages, workers without a record, and streams of news. */
import { ProviderError, type WorkerObservation } from '@muster/core'
import { beforeEach, expect, test } from 'vitest'
import { testClock } from '../engine/testing/clock.ts'
import { type ScriptedProvider, scriptedProvider } from '../engine/testing/vendor.ts'
import { type Joined, joined } from './joined.ts'
import { launchSpec } from './testing/configure.ts'

const clock = testClock()
const owners = new Map<string, string>()
let newer: ScriptedProvider
let older: ScriptedProvider
let both: Joined
let isKept = true
beforeEach(() => {
  owners.clear()
  isKept = true
  newer = scriptedProvider({ name: 'p', version: '2.0.0', owner: 'me', clock, readyMs: 0 })
  older = scriptedProvider({
    name: 'p',
    version: '1.0.0',
    owner: 'me',
    clock,
    readyMs: 0,
    capabilities: { suspend: { keeps: ['disk'] } },
  })
  both = joined({
    main: () => newer,
    kept: () => (isKept ? { version: '1.0.0', provider: older } : undefined),
    ownerOf: (id) => owners.get(id),
    retiring: () => 2,
  })
})

const id = (n: number): string => `w${String(n).repeat(26)}`
async function make(at: ScriptedProvider, n: number, version?: string): Promise<void> {
  if (version !== undefined) owners.set(id(n), version)
  await at.launch({ ...launchSpec, id: id(n) }, {})
}

/** Ids of each page, as whoever follows the cursors sees them. */
async function pages(limit: number): Promise<string[][]> {
  const all: string[][] = []
  for (let cursor: string | undefined; ;) {
    const page = await both.provider.list({ limit, ...(cursor === undefined ? {} : { cursor }) })
    all.push(page.workers.map((one) => one.id.slice(1, 2)))
    cursor = page.next
    if (cursor === undefined) return all
  }
}

test('pages of both show each worker once, by the version that it belongs to', async () => {
  for (const n of [1, 2, 3]) await make(newer, n, '2.0.0')
  // It shows those of the other version too, and the other way round.
  await make(newer, 4, '1.0.0')
  for (const n of [4, 5, 1]) await make(older, n, n === 1 ? '2.0.0' : '1.0.0')
  expect(await pages(2)).toEqual([['1', '2'], ['3'], ['4', '5'], []])
  isKept = false
  expect(await pages(2)).toEqual([
    ['1', '2'],
    ['3', '4'],
  ])
})

test('of workers without a record the older one shows and ends those that the newer one does not know', async () => {
  await make(newer, 1)
  await make(older, 1)
  await make(older, 2)
  expect(await pages(9)).toEqual([['1'], ['2']])
  for (const n of [1, 2]) await both.provider.terminate({ id: id(n) }, { graceMs: 0, force: false, reason: 'orphan' }, {})
  expect([[...newer.vendor.workers.keys()], [...older.vendor.workers.keys()]]).toEqual([[], [id(1)]])
})

test('an older one that cannot be asked makes a page of nothing known; what ails the newer one is an error', async () => {
  await make(newer, 1, '2.0.0')
  const down = new ProviderError('transient', 'down', { effect: 'none' })
  older.list = () => Promise.reject(down)
  const { next = '', workers } = await both.provider.list({ limit: 9 })
  expect(workers).toHaveLength(1)
  expect(await both.provider.list({ limit: 9, cursor: next })).toMatchObject({ workers: [], unseen: '1.0.0' })
  newer.list = () => Promise.reject(down)
  await expect(both.provider.list({ limit: 9 })).rejects.toBe(down)
})

test('a list of the older one asks the newer one of nothing that it has a record of: that it cannot be asked hides none', async () => {
  await make(older, 2, '1.0.0')
  newer.inspect = () => Promise.reject(new ProviderError('transient', 'down', { effect: 'none' }))
  expect(await pages(9)).toEqual([[], ['2']])
  await make(older, 3)
  expect(await pages(9)).toEqual([[], []])
})

test('an inspect asks each for its own, and fails when one of those that are asked does', async () => {
  await make(newer, 1, '2.0.0')
  await make(older, 2, '1.0.0')
  const found = await both.provider.inspect([{ id: id(1) }, { id: id(2) }])
  expect(found.map((one) => one.id).sort()).toEqual([id(1), id(2)])
  older.inspect = () => Promise.reject(new ProviderError('transient', 'down', { effect: 'none' }))
  expect(await both.provider.inspect([{ id: id(1) }])).toHaveLength(1)
  await expect(both.provider.inspect([{ id: id(1) }, { id: id(2) }])).rejects.toMatchObject({ message: 'down' })
})

test('news come from both, each of its own workers, and begin anew when another version is kept or none', async () => {
  await make(newer, 1, '2.0.0')
  await make(older, 2, '1.0.0')
  await make(older, 3, '2.0.0')
  const news = both.provider.watch()[Symbol.asyncIterator]()
  const seen: Promise<IteratorResult<WorkerObservation>> = news.next()
  // The streams are open once they have been asked for.
  for (const at of [newer, older]) await expect.poll(() => at.vendor.calls.some(({ method }) => method === 'watch')).toBe(true)
  await new Promise((resolve) => setImmediate(resolve))
  older.announce(id(3))
  older.announce(id(2))
  expect((await seen).value).toMatchObject({ id: id(2) })
  newer.announce(id(1))
  expect((await news.next()).value).toMatchObject({ id: id(1) })
  const last = news.next()
  both.changed()
  expect(await last).toMatchObject({ done: true })
})

test('a worker is seen as its version is: what that can do, and how it does', async () => {
  await make(older, 2, '1.0.0')
  older.setState('degraded', { reason: 'it fell' })
  expect(both.provider.status()).toMatchObject({
    ...{ state: 'ready', retiring: 2, plugin: { version: '2.0.0' } },
    kept: { version: '1.0.0', state: 'degraded', reason: 'it fell' },
  })
  const serving = both.serving(id(2))
  expect([serving.status().state, serving.manifest.version, serving.capabilities.suspend]).toEqual([
    'degraded',
    '1.0.0',
    { keeps: ['disk'] },
  ])
  isKept = false
  expect([both.serving(id(2)).manifest.version, both.provider.status().kept]).toEqual(['2.0.0', undefined])
})

test('what ends the news of the version that runs is an error, and the end of the older one’s is none', async () => {
  await make(newer, 1, '2.0.0')
  const broken = new ProviderError('transient', 'cut off', { effect: 'none' })
  const none = async function* (): AsyncGenerator<WorkerObservation> {}
  newer.watch = async function* () {
    yield* none()
    throw broken
  }
  older.watch = none
  await expect(both.provider.watch()[Symbol.asyncIterator]().next()).rejects.toBe(broken)
})

test('whoever asks for the next page of an older version that was let go meanwhile is told the end', async () => {
  await make(newer, 1, '2.0.0')
  const { next = '' } = await both.provider.list({ limit: 9 })
  isKept = false
  expect(await both.provider.list({ limit: 9, cursor: next })).toEqual({ workers: [], asOf: expect.any(String) })
})

test('whatever is asked of a worker is asked of the version that it belongs to, with all that is said beside', async () => {
  owners.set(id(1), '2.0.0')
  owners.set(id(2), '1.0.0')
  const methods = ['logs', 'exec', 'execState', 'execKill', 'copyIn', 'copyOut', 'forward', 'suspend', 'resume', 'mark'] as const
  const asked: unknown[][] = []
  for (const [version, at] of [
    ['2.0.0', newer],
    ['1.0.0', older],
  ] as const)
    for (const method of methods)
      Object.assign(at, { [method]: (...given: unknown[]) => void asked.push([version, method, ...given]) })
  for (const method of methods)
    for (const n of [1, 2]) (both.provider[method] as (...given: unknown[]) => unknown)({ id: id(n) }, 'beside', {})
  expect(asked).toEqual(
    methods.flatMap((method) => [
      ['2.0.0', method, { id: id(1) }, 'beside', {}],
      ['1.0.0', method, { id: id(2) }, 'beside', {}],
    ]),
  )
})
