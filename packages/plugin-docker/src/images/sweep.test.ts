import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { describe, expect, test } from 'vitest'
import type { Engine } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { createLedger, type ImageLedger } from './ledger.ts'
import { imageRulesOf } from './image-rules.ts'
import { createSweeper, type ImageRow, planSweep } from './sweep.ts'

const DAY = 86_400_000
const GiB = 2 ** 30
const now = 100 * DAY
const image = (id: string, tag: string, more: Partial<ImageRow> = {}): ImageRow => ({
  ...{ Id: id, RepoTags: [`r.test/${tag}`], RepoDigests: null, Size: GiB },
  ...more,
})
const own = (...entries: [tag: string, id: string, daysAgo: number][]) =>
  new Map(entries.map(([tag, id, daysAgo]) => [`r.test/${tag}`, { id, usedAt: now - daysAgo * DAY }]))
const none = new Set<string>()

test('by age: what is unused for long goes; what is used, young, of another content, or nobody’s stays', () => {
  const stock = {
    own: own(['old:1', 'a', 9], ['new:1', 'b', 1], ['used:1', 'c', 9], ['moved:1', 'd', 9], ['away:1', 'e', 9]),
    images: [image('a', 'old:1'), image('b', 'new:1'), image('c', 'used:1'), image('x', 'moved:1'), image('f', 'foreign:1')],
    inUse: new Set(['c']),
  }
  expect(planSweep(stock, imageRulesOf({ unusedFor: '7d' }), now)).toEqual({
    remove: ['r.test/old:1'],
    forget: ['r.test/moved:1', 'r.test/away:1'],
  })
})

test('by budget: the longest unused first, until the rest fits; one content counts once', () => {
  const stock = {
    own: own(['a:1', 'a', 5], ['a:2', 'a', 4], ['b:1', 'b', 3], ['c:1', 'c', 2]),
    images: [image('a', '', { RepoTags: ['r.test/a:1', 'r.test/a:2'] }), image('b', 'b:1'), image('c', 'c:1')],
    inUse: none,
  }
  expect(planSweep(stock, imageRulesOf({ budget: '3GiB' }), now).remove).toEqual([])
  expect(planSweep(stock, imageRulesOf({ budget: '2GiB' }), now).remove).toEqual(['r.test/a:1', 'r.test/a:2'])
  expect(planSweep({ ...stock, inUse: new Set(['a']) }, imageRulesOf({ budget: '2GiB' }), now).remove).toEqual(['r.test/b:1'])
  expect(planSweep(stock, imageRulesOf({ budget: '0MiB' }), now).remove).toHaveLength(4)
  expect(planSweep({ ...stock, own: own(['c:1', 'c', 0]) }, imageRulesOf({ budget: '0MiB' }), now).remove).toEqual([])
})

test('a name by digest, and one that the engine shortens, are found', () => {
  const stock = {
    own: new Map([
      ['docker.io/library/x:1', { id: 'a', usedAt: 0 }],
      ['r.test/y@sha256:ab', { id: 'b', usedAt: 0 }],
    ]),
    images: [image('a', '', { RepoTags: ['x:1'] }), image('b', '', { RepoTags: null, RepoDigests: ['r.test/y@sha256:ab'] })],
    inUse: none,
  }
  expect(planSweep(stock, imageRulesOf({ unusedFor: '1d' }), now)).toEqual({ remove: [...stock.own.keys()], forget: [] })
})

test('what an engine refuses to remove stays ours; what is gone is forgotten', async () => {
  await using folder = await tempFolder('ledger')
  const ledger = createLedger(folder.path, () => {})
  for (const [name, entry] of own(['busy:1', 'a', 9], ['gone:1', 'b', 9], ['goes:1', 'c', 9])) await ledger.add(name, entry)
  const asked: string[] = []
  const engine = {
    json: ({ method, path, query }: { method: string; path: string; query?: object }) => {
      if (path === '/images/json') return Promise.resolve([image('a', 'busy:1'), image('b', 'gone:1'), image('c', 'goes:1')])
      if (path === '/containers/json') return Promise.resolve([])
      asked.push(`${method} ${path} ${JSON.stringify(query)}`)
      const status = path.includes('busy') ? 409 : path.includes('gone') ? 404 : undefined
      return status === undefined ? Promise.resolve() : Promise.reject(new EngineFailure('no', { status, sent: true }))
    },
  } as unknown as Engine
  const sweeper = createSweeper(engine, { ledger, rules: imageRulesOf({ unusedFor: '1d' }), now: () => now })
  expect(await sweeper.sweep(AbortSignal.timeout(1_000))).toEqual(['r.test/gone:1', 'r.test/goes:1'])
  expect([...(await ledger.all()).keys()]).toEqual(['r.test/busy:1'])
  // Never by force, never a parent that somebody else may want.
  expect(asked[0]).toBe('DELETE /images/r.test/busy:1 {"noprune":true}')
})

describe('the list of images', () => {
  const names = async (ledger: ImageLedger): Promise<string[]> => [...(await ledger.all()).keys()].toSorted()

  test('of two processes has what either adds, drops and uses', async () => {
    await using folder = await tempFolder('ledger')
    const [first, second] = [createLedger(folder.path, () => {}), createLedger(folder.path, () => {})]
    expect([await names(first), await names(second)]).toEqual([[], []])
    await Promise.all([first.add('r.test/a:1', { id: 'a', usedAt: 1 }), second.add('r.test/b:1', { id: 'b', usedAt: 1 })])
    expect([await names(first), await names(second)]).toEqual([
      ['r.test/a:1', 'r.test/b:1'],
      ['r.test/a:1', 'r.test/b:1'],
    ])
    await second.used('r.test/a:1', DAY)
    expect((await first.all()).get('r.test/a:1')).toEqual({ id: 'a', usedAt: DAY })
    await first.drop(['r.test/a:1'])
    await second.used('r.test/a:1', 2 * DAY)
    expect([await names(first), await names(second)]).toEqual([['r.test/b:1'], ['r.test/b:1']])
  })

  test('is that of an older version, which was one file', async () => {
    await using folder = await tempFolder('ledger')
    const old = { v: 1, images: { 'r.test/x:1': { id: 'x', usedAt: 7 } } }
    await writeFile(join(folder.path, 'images.json'), JSON.stringify(old))
    const ledger = createLedger(folder.path, () => {})
    expect([...(await ledger.all())]).toEqual([['r.test/x:1', { id: 'x', usedAt: 7 }]])
    await ledger.drop(['r.test/x:1'])
    expect(await names(createLedger(folder.path, () => {}))).toEqual([])
  })

  test('of which a part cannot be read: that is nobody’s, is not removed, and it is said once', async () => {
    await using folder = await tempFolder('ledger')
    const warned: string[] = []
    await writeFile(join(folder.path, 'images.json'), '{"v":1,"images":{"r.test/x:1":{"id"')
    await createLedger(folder.path, () => {}).add('r.test/y:1', { id: 'y', usedAt: 1 })
    await writeFile(join(folder.path, 'images', 'z.json'), '{"v":1,"name":"r.test/z:1"')
    const ledger = createLedger(folder.path, (message) => warned.push(message))
    for (let times = 0; times < 2; times++) expect(await names(ledger)).toEqual(['r.test/y:1'])
    expect(warned).toEqual(Array.from({ length: 2 }, () => 'the list of pulled images cannot be read: they stay from now on'))
  })
})
