/** How the fate of a mutant is found: which tests run with it, and what is made of how they end. */
import { expect, test } from 'vitest'
import { fateOf } from './fate.mjs'
import { visitsOf } from './reach.mjs'
import type { Job, Ran } from './warm.mjs'

const reach = {
  'slow.test.ts': { early: [], loose: [], tests: [{ ms: 90, ids: [1, 2] }] },
  'quick.test.ts': {
    early: [],
    loose: [3],
    tests: [
      { ms: 1, ids: [] },
      { ms: 2, ids: [1] },
      { ms: 3, ids: [1] },
    ],
  },
  'early.test.ts': { early: [2], loose: [], tests: [{ ms: 1, ids: [2] }] },
}
const visits = visitsOf(reach)
const passed: Ran = { outcome: 'passed', hit: true, mb: 1 }
const failed: Ran = { outcome: 'failed', hit: true, failed: 2, mb: 1 }

/** A process that answers in turn; `renewed` counts. */
function played(...answers: Ran[]): {
  asked: Job[]
  warm: { run(job: Job): Promise<Ran>; renew(): void }
  renewed: () => number
} {
  const asked: Job[] = []
  let renewed = 0
  return {
    asked,
    renewed: () => renewed,
    warm: {
      async run(job) {
        asked.push(job)
        return answers.shift() ?? passed
      },
      renew: () => void (renewed += 1),
    },
  }
}

test('of a file run the tests that reach the mutant; all of them where nobody knows, and anew where reading it reaches', () => {
  expect(visits.get(1)).toEqual([
    { file: 'quick.test.ts', fresh: false, only: [1, 2], ms: 5, most: 3 },
    { file: 'slow.test.ts', fresh: false, only: [0], ms: 90, most: 90 },
  ])
  expect(visits.get(2)?.find(({ file }) => file === 'early.test.ts')).toEqual({
    file: 'early.test.ts',
    fresh: true,
    ms: 401,
    most: 1,
  })
  expect(visits.get(3)).toEqual([{ file: 'quick.test.ts', fresh: false, ms: 6, most: 3 }])
  expect(visits.get(4)).toBeUndefined()
})

test('what no test reaches lives, what all pass lives', async () => {
  const { asked, warm } = played()
  expect(await fateOf(4, [], { warm, near: [] })).toBe('survived')
  expect(asked).toEqual([])
  expect(await fateOf(1, visits.get(1) ?? [], { warm, near: [] })).toBe('survived')
  expect(asked.map(({ file, active }) => [file, active])).toEqual([
    ['quick.test.ts', 1],
    ['slow.test.ts', 1],
  ])
})

test('the tests about its file come first, and the first that falls is the last; without the mutant it must pass', async () => {
  const { asked, warm } = played(failed, passed)
  expect(await fateOf(1, visits.get(1) ?? [], { warm, near: ['slow.test.ts'] })).toBe('killed')
  expect(asked).toEqual([
    { file: 'slow.test.ts', active: 1, fresh: false, only: [0], testMs: 2450 },
    { file: 'slow.test.ts', active: 0, fresh: false, only: [2], testMs: 2450 },
  ])
})

test('a test that falls without the mutant too is asked again in a new process, and says nothing when it falls there too', async () => {
  const [visit] = visits.get(3) ?? []
  if (visit === undefined) throw new Error('no visit')
  const healed = played(failed, failed, failed, passed)
  expect(await fateOf(3, [visit], { warm: healed.warm, near: [] })).toBe('killed')
  expect(healed.renewed()).toBe(1)
  const flaky = played(failed, failed, failed, failed)
  expect(await fateOf(3, [visit], { warm: flaky.warm, near: [] })).toBe('survived')
  const elsewhere = played({ ...failed, hit: false }, { ...failed, hit: false })
  expect(await fateOf(3, [visit], { warm: elsewhere.warm, near: [] })).toBe('survived')
})

test('what passes without coming to the mutant, as where something is found out once for all, is asked anew', async () => {
  const missed: Ran = { outcome: 'passed', hit: false, mb: 1 }
  const found = played(missed, failed, passed)
  expect(await fateOf(3, visits.get(3) ?? [], { warm: found.warm, near: [] })).toBe('killed')
  expect(found.asked.map(({ active, fresh }) => [active, fresh])).toEqual([
    [3, false],
    [3, true],
    [0, false],
  ])
  const missing = played(missed, missed)
  expect(await fateOf(3, visits.get(3) ?? [], { warm: missing.warm, near: [] })).toBe('survived')
  expect(missing.asked).toHaveLength(2)
})

test('a loop that never turns and a test that never ends are by time', async () => {
  const hung = played({ outcome: 'hung', hit: true })
  expect(await fateOf(3, visits.get(3) ?? [], { warm: hung.warm, near: [] })).toBe('timed out')
  const late = played({ outcome: 'timed out', hit: true, failed: 0, mb: 1 })
  expect(await fateOf(3, visits.get(3) ?? [], { warm: late.warm, near: [] })).toBe('timed out')
  expect(late.asked.map(({ active, only }) => [active, only])).toEqual([
    [3, undefined],
    [0, [0]],
  ])
})
