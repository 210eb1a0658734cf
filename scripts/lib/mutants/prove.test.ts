/** The parts of the mutation score: which tests, which mutants, what is known, what is told. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../paths.mjs'
import { editsOf } from './generate.mjs'
import { mutantsPage, type Reason, type Result } from './page.mjs'
import { provedRooms, testsThatSee } from './rooms.mjs'
import { type Fate, generated, sampleOf, scoreOf, stillKnown, triedOf } from './sample.mjs'

const source = 'if (a < 1 && b) go()\n'
const all = generated('src/a.ts', source, editsOf(source))
const first = all.find(({ instead }) => instead === '<=')
if (first === undefined) throw new Error('no operator was changed')

test('a mutant has the whole file with its one change, and a key that lasts as long as the file', () => {
  expect(first).toMatchObject({ file: 'src/a.ts', line: 1, source: 'if (a <= 1 && b) go()\n' })
  expect(new Set(all.map(({ key }) => key)).size).toBe(all.length)
  expect(generated('src/a.ts', source, editsOf(source)).map(({ key }) => key)).toEqual(all.map(({ key }) => key))
  const moved = `\n${source}`
  expect(generated('src/a.ts', moved, editsOf(moved)).map(({ key }) => key)).not.toContain(first.key)
})

test('a seed chooses the same ones each time, and a larger share holds the smaller', () => {
  const keys = (seed: number, share: number): string[] => sampleOf(all, seed, share).map(({ key }) => key)
  expect(keys(1, 0.5)).toEqual(keys(1, 0.5))
  expect(keys(1, 1).slice(0, keys(1, 0.5).length)).toEqual(keys(1, 0.5))
  expect([keys(1, 1).length, keys(1, 0.0001).length]).toEqual([all.length, 1])
  expect(new Set([1, 2, 3, 4, 5, 6].map((seed) => keys(seed, 1).join('\n'))).size).toBeGreaterThan(1)
})

test('the score is of those that were tried; what lived is tried again', () => {
  expect(scoreOf(['killed', 'timed out', 'survived'])).toBe(66.6)
  expect(scoreOf([])).toBe(0)
  expect(stillKnown({ a: 'killed', b: 'survived', c: 'timed out' })).toEqual({ a: 'killed', c: 'timed out' })
})

test('only the share that was asked for counts, not what else is known of an earlier commit', () => {
  const lived = new Set(sampleOf(all, 1, 0.01).map(({ key }) => key))
  const at = (key: string): Fate => (lived.has(key) ? 'survived' : 'killed')
  const once: Record<string, Fate> = Object.fromEntries(all.map(({ key }) => [key, at(key)]))
  const later: Record<string, Fate> = { ...stillKnown(once), ...Object.fromEntries([...lived].map((key) => [key, 'survived'])) }
  expect(triedOf(sampleOf(all, 1, 0.01), later)).toMatchObject([{ fate: 'survived' }])
  expect(triedOf(sampleOf(all, 1, 1), later)).toHaveLength(all.length)
})

test('while one of the share is untried there is no score', () => {
  expect(() => triedOf(all, { [first.key]: 'killed' })).toThrowError(`${all.length - 1} of ${all.length} are not tried yet`)
})

test('tests that are about a file come before those that only come to it', () => {
  const imports: Record<string, string[]> = {
    'a.test.ts': ['a.ts'],
    'b.test.ts': ['b.ts'],
    'c.test.ts': ['c.ts'],
    'a.ts': ['b.ts'],
    'b.ts': ['a.ts'],
  }
  const room = { name: 'x', least: 80, sources: [], tests: ['a.test.ts', 'b.test.ts', 'c.test.ts'] }
  const importsOf = (path: string): string[] => imports[path] ?? []
  expect(testsThatSee(room, 'b.ts', importsOf)).toEqual({ near: ['b.test.ts'], far: ['a.test.ts'] })
  expect(testsThatSee(room, 'none.ts', importsOf)).toEqual({ near: [], far: [] })
})

test('rooms have sources and quick tests, and most sources are seen by some', () => {
  for (const room of provedRooms()) {
    expect(room.sources.length).toBeGreaterThan(20)
    const slow = room.name === 'plugins' ? /integration/ : /contract|integration/
    expect(room.tests.some((path) => slow.test(path))).toBe(false)
    const unseen = room.sources.filter((path) => {
      const { near, far } = testsThatSee(room, path)
      return near.length + far.length === 0
    })
    expect(unseen.length).toBeLessThan(room.sources.length / 4)
  }
})

const told = (name: string, fates: Fate[]): Result => ({
  name,
  commit: 'abc',
  seed: 7,
  all: 9,
  tried: fates.map((fate) => ({ ...first, fate })),
  score: scoreOf(fates),
})

test('the page tells each one that lives, with its reason', () => {
  const given = { rooms: ['x'], results: [told('x', ['survived', 'killed'])], reasons: [], before: '' }
  const reason: Reason = { file: 'src/a.ts', from: first.from, instead: first.instead, why: 'nobody can tell' }
  expect(mutantsPage(given)).toContain('| x | abc | 7 | 9 | 2 | 1 | 0 | 1 | 50 % | 50 % |')
  expect(mutantsPage(given)).toContain('`src/a.ts:1`: `` < `` became `` <= ``: a test is missing')
  expect(mutantsPage({ ...given, reasons: [reason] })).toContain('became `` <= ``: nobody can tell')
})

test('rooms that were not asked for stay on the page as they are', () => {
  const rooms = ['x', 'xy', 'z']
  const one = { rooms, reasons: [], results: [told('x', ['survived']), told('xy', ['killed', 'survived'])], before: '' }
  const before = mutantsPage(one)
  expect(mutantsPage({ ...one, results: [], before })).toBe(before)
  const next = { ...one, results: [told('x', ['killed'])] }
  const other = [told('xy', ['killed', 'survived'])]
  expect(mutantsPage({ ...next, before })).toBe(mutantsPage({ ...next, results: [...next.results, ...other], before }))
})

test('the first score of a seed stays beside those that come after; another seed begins anew', () => {
  const given = { rooms: ['x'], reasons: [] }
  const before = mutantsPage({ ...given, results: [told('x', ['survived', 'killed'])], before: '' })
  const mended = mutantsPage({ ...given, results: [told('x', ['killed', 'killed'])], before })
  expect(mended).toContain('| 100 % | 50 % |')
  expect(mutantsPage({ ...given, results: [told('x', ['killed', 'killed'])], before: mended })).toBe(mended)
  expect(mutantsPage({ ...given, results: [{ ...told('x', ['killed']), seed: 8 }], before: mended })).toContain(
    '| 100 % | 100 % |',
  )
})

test('every reason is about something that still stands there', () => {
  const reasons = JSON.parse(readFileSync(join(root, 'test/mutants/survivors/reasons.json'), 'utf8')) as Reason[]
  const gone = reasons.filter(({ file, from, why }) => why === '' || !readFileSync(join(root, file), 'utf8').includes(from))
  expect(gone).toEqual([])
})
