import { expect, it } from 'vitest'
import { conformanceTests, type Outcome } from '../suite/run.ts'
import { lastTest } from '../suite/last.ts'
import { defects, outcomesWith } from './all.test.helper.ts'
import type { Defect } from './defect.test.helper.ts'

const names = [...conformanceTests, lastTest].map(({ name }) => name)

it('has a defect for every test, and a test for every defect', () => {
  expect(new Set(names).size).toBe(names.length)
  expect(new Set(defects.map(({ name }) => name)).size).toBe(defects.length)
  const caught = new Set(defects.map(({ caughtBy }) => caughtBy))
  expect(names.filter((name) => !caught.has(name))).toEqual([])
  expect([...caught].filter((name) => !names.includes(name))).toEqual([])
  expect(defects.length).toBeGreaterThanOrEqual(20)
})

/** Providers without a fault, with more or less than the usual. */
const sound: Record<string, Defect['capabilities']> = {
  'all it usually declares': {},
  terminals: { exec: { reattach: true, stdin: true, tty: true, exitCode: true } },
  'an image in every worker': { image: 'required' },
  'agents in its workers': { work: ['command', 'hold', 'agent'] },
  'nothing but commands': {
    work: ['command'],
    fields: [],
    exec: undefined,
    copy: undefined,
    logs: undefined,
    watch: false,
    forward: false,
    stats: false,
    headroom: false,
    quote: false,
    preparePool: false,
    suspend: undefined,
    mark: false,
    fencing: 'none',
    lifetime: 'host',
    services: false,
    handles: [2],
  },
  'nothing but holding and commands inside': { work: ['hold'], logs: undefined, watch: false },
}

/** What failed and why, in one text: it is all that a test report shows. */
function failuresOf(outcomes: readonly Outcome[]): string {
  const failed = outcomes.filter(({ outcome }) => outcome === 'fail')
  return failed.map(({ name, detail, ms }) => `${name} (${ms} ms): ${detail}`).join('\n')
}

it.each(Object.entries(sound))(
  'passes a sound provider with %s',
  async (_name, capabilities) => {
    const outcomes = await outcomesWith({ name: 'none', caughtBy: '', ...(capabilities !== undefined && { capabilities }) })
    expect(failuresOf(outcomes)).toBe('')
    expect(outcomes.map(({ name }) => name)).toEqual(names)
  },
  300_000,
)

it('says what a provider does not declare, and passes nothing in silence', async () => {
  const outcomes = await outcomesWith({ name: 'none', caughtBy: '', capabilities: { exec: undefined, watch: false } })
  const absent = outcomes.filter(({ outcome }) => outcome === 'not declared')
  expect(absent.length).toBeGreaterThan(15)
  for (const { detail } of absent) expect(detail).toMatch(/^(exec|watch|image:required|work:agent)\S*: not in the manifest$/)
}, 300_000)
