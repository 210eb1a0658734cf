/** The runner of mutants: what it tells of a list, and what it makes of what the tests say. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { afterEach, expect, test, vi } from 'vitest'
import { root } from '../paths.mjs'
import { isKilled, judgeAll, type RunTests, sumUp } from './judge.mjs'
import { findPlaces, type Mutant, readLists } from './list.mjs'

const source = 'const a = 1\nif (a > 0 && a < 5) go()\n'
const files: Record<string, string> = { 'src/a.ts': source, 'src/a.test.ts': '' }
const mutant: Mutant = { file: 'src/a.ts', text: 'a > 0', instead: 'a >= 0', tests: ['src/a.test.ts'], why: 'it matters' }

afterEach(() => vi.unstubAllEnvs())

function placed(...mutants: object[]): ReturnType<typeof findPlaces> {
  return findPlaces(
    mutants.map((one) => ({ from: 'list.json', mutant: one as Mutant })),
    (path) => files[path],
  )
}

test('a mutant is found at its line, and its source is the file with that one change', () => {
  const { ready, problems } = placed(mutant)
  expect(problems).toEqual([])
  expect(ready).toMatchObject([{ line: 2, source: source.replace('a > 0', 'a >= 0') }])
})

test.each([
  ['whose text is gone', { text: 'a > 1' }, 'its text is not in the file'],
  ['whose text is not one place', { text: 'a' }, 'its text stands 3 times in the file'],
  ['of a file that is gone', { file: 'src/b.ts' }, 'there is no such file'],
  ['whose test is gone', { tests: ['src/b.test.ts'] }, 'there is no test src/b.test.ts'],
  ['that names a slow test', { tests: ['src/b.contract.test.ts'] }, 'no unit test'],
  ['that names no test', { tests: [] }, 'it names no test'],
  ['that does not parse', { instead: 'a >' }, 'it does not parse'],
  ['that changes nothing', { instead: 'a > 0' }, 'it changes nothing'],
  ['without a reason', { why: '' }, 'it needs file, text, instead and why'],
  ['with a key that nobody reads', { reason: 'x' }, 'unknown key reason'],
])('a mutant %s is refused, with its list and its file', (_what, wrong, words) => {
  const { ready, problems } = placed({ ...mutant, ...wrong })
  expect(ready).toEqual([])
  expect(problems).toHaveLength(1)
  expect(problems[0]).toMatch(/^list\.json: the mutant '.*' of src\/[ab]\.ts: /)
  expect(problems[0]).toContain(words)
})

test('one that is listed twice is refused once, and all problems are told together', () => {
  const { ready, problems } = placed(mutant, mutant, { ...mutant, file: 'none.ts' })
  expect(ready).toHaveLength(1)
  expect(problems).toEqual([expect.stringContaining('is listed twice'), expect.stringContaining('there is no such file')])
})

async function judged(
  answers: Partial<Awaited<ReturnType<RunTests>>>[],
): Promise<Awaited<ReturnType<typeof judgeAll>> & { lines: string[] }> {
  const lines: string[] = []
  const { ready } = placed(...answers.slice(1).map((_one, at) => ({ ...mutant, instead: `a >= ${at}` })))
  const left = [...answers]
  const run: RunTests = async () => ({ outcome: 'passed', loaded: true, failed: '', seconds: 1, ...left.shift() })
  return { ...(await judgeAll(ready, { run, atOnce: 1, tell: (line) => lines.push(line) })), lines }
}

test('killed by a failed test or by time; one that no test sees, or that no test reads, is a failure', async () => {
  const { judged: all, lines } = await judged([
    {},
    { outcome: 'failed', failed: 'FAILED: src/a.test.ts > it works\n  but not now\n' },
    { outcome: 'hung' },
    { outcome: 'passed' },
    { outcome: 'failed', loaded: false },
  ])
  expect(all.map((one) => one.verdict)).toEqual(['killed', 'timed out', 'survived', 'never loaded'])
  expect(all.map(isKilled)).toEqual([true, true, false, false])
  expect(lines[1]).toContain('by src/a.test.ts > it works')
  expect(lines[3]).toBe(
    "FAILED: mutant survived: src/a.ts:2: it matters\n  'a > 0' became 'a >= 2': write the test that fails with it, in src/a.test.ts",
  )
  expect(lines[4]).toContain('name the tests that do')
})

test('red tests prove nothing: no mutant is tried', async () => {
  const { judged: all, red } = await judged([{ outcome: 'failed', failed: 'FAILED: src/a.test.ts > it works\n' }, {}])
  expect(all).toEqual([])
  expect(red).toContain('it works')
})

test('the totals of a larger run count every mutant, and tell those that live', async () => {
  const { judged: all } = await judged([{}, { outcome: 'failed' }, { outcome: 'passed' }])
  await using folder = await tempFolder('mutants')
  const totals = join(folder.path, 'totals')
  vi.stubEnv('MUSTER_TEST_TOTALS', totals)
  expect(sumUp(all, 3.2)).toBe('mutants: 1 killed (0 by time), 1 not, 3 s')
  expect(readFileSync(totals, 'utf8')).toBe('1 passed, 1 failed\n')
  expect(readFileSync(`${totals}.failed`, 'utf8')).toMatch(/^FAILED: mutant survived: src\/a\.ts:2/)
})

test('the committed list is up to date, and long enough', () => {
  const listed = readLists(join(root, 'test/mutants'))
  const { ready, problems } = findPlaces(listed, (path) => {
    try {
      return readFileSync(join(root, path), 'utf8')
    } catch {
      return undefined
    }
  })
  expect(problems).toEqual([])
  expect(ready.length).toBeGreaterThanOrEqual(45)
})
