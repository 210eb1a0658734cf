/** Runs the suite: test by test for a test runner, or as a whole that gives its outcomes. */
import { setTimeout as delay } from 'node:timers/promises'
import { agentTests } from './agents.ts'
import { benchOf, openSuite, type Suite } from './bench.ts'
import { callTests } from './calls.ts'
import { copyTests } from './copy.ts'
import { execTests } from './exec.ts'
import { extraTests } from './extras.ts'
import { fieldTests } from './fields.ts'
import { lastTest } from './last.ts'
import { launchTests } from './launch.ts'
import { listTests } from './list.ts'
import { logTests } from './logs.ts'
import { secretTests } from './secrets.ts'
import { missing, type ProviderSetup } from './setup.ts'
import { surfaceTests } from './surface.ts'
import { terminalTests } from './terminal.ts'
import { terminateTests } from './terminate.ts'
import type { SuiteTest } from './test.ts'
import { workTests } from './work.ts'

/** All tests but the last one, in no order that matters. */
export const conformanceTests: readonly SuiteTest[] = [
  ...surfaceTests,
  ...launchTests,
  ...terminateTests,
  ...listTests,
  ...workTests,
  ...agentTests,
  ...fieldTests,
  ...logTests,
  ...execTests,
  ...terminalTests,
  ...copyTests,
  ...extraTests,
  ...callTests,
  ...secretTests,
]

/** `not declared`: the provider does not claim what the test needs; `detail` names it. */
export interface Outcome {
  name: string
  outcome: 'pass' | 'fail' | 'not declared'
  detail?: string
  ms: number
}

export interface CheckOptions {
  /** Only these tests. */
  only?(test: SuiteTest): boolean
  /** How many tests at once. Default 4. */
  parallel?: number
  /** Each one as soon as it is known. */
  onOutcome?(outcome: Outcome): void
}

/** The whole suite; gives the outcome of every test, the last one's last. */
export async function checkProvider(setup: ProviderSetup, options: CheckOptions = {}): Promise<Outcome[]> {
  const suite = openSuite(setup)
  const wanted = conformanceTests.filter((test) => options.only?.(test) ?? true)
  const outcomes = new Map<string, Outcome>()
  const queue = wanted.filter(({ alone }) => alone !== true).values()
  const one = async (test: SuiteTest): Promise<void> => {
    const outcome = await outcomeOf(suite, test)
    outcomes.set(test.name, outcome)
    options.onOutcome?.(outcome)
  }
  const work = async (): Promise<void> => {
    for (const test of queue) await one(test)
  }
  try {
    await Promise.all(Array.from({ length: options.parallel ?? 4 }, work))
    for (const test of [...wanted.filter(({ alone }) => alone === true), lastTest]) await one(test)
  } finally {
    await suite.close()
  }
  return [...wanted, lastTest].flatMap(({ name }) => outcomes.get(name) ?? [])
}

/** The functions of a test runner: vitest's, jest's or node:test's. */
export interface TestRunner {
  describe(name: string, tests: () => void): void
  it(name: string, run: () => Promise<void>, timeoutMs?: number): void
  afterAll(act: () => Promise<void>, timeoutMs?: number): void
}

/** Registers the suite with a test runner, one test each; what is not declared is registered as such, and checked to be so. */
export function describeProvider(name: string, setup: ProviderSetup, runner: TestRunner): void {
  const { describe, it, afterAll } = runner
  describe(`${name} conforms`, () => {
    let suite: Suite | undefined
    const opened = (): Suite => (suite ??= openSuite(setup))
    const timeoutMs = testTimeoutMs(setup) + 10_000
    for (const test of [...conformanceTests, lastTest]) {
      const absent = missing(test.needs ?? [], setup)
      const title = absent?.excused === true ? `${test.name} (not declared: ${absent.need}: ${absent.reason})` : test.name
      it(
        title,
        async () => {
          const { outcome, detail } = await outcomeOf(opened(), test)
          if (outcome === 'fail') throw new Error(detail)
        },
        timeoutMs,
      )
    }
    afterAll(async () => {
      await suite?.close()
    }, timeoutMs)
  })
}

/** No test may take longer: a few waits of full patience each. */
function testTimeoutMs(setup: ProviderSetup): number {
  return (setup.patienceMs ?? 30_000) * 6
}

async function outcomeOf(suite: Suite, test: SuiteTest): Promise<Outcome> {
  const { name, needs = [], run } = test
  const start = performance.now()
  const done = (outcome: Outcome['outcome'], detail?: string): Outcome => ({
    name,
    outcome,
    ...(detail !== undefined && { detail }),
    ms: Math.round(performance.now() - start),
  })
  const absent = missing(needs, suite.setup)
  if (absent?.excused === false) return done('fail', absent.reason)
  if (absent !== undefined) return done('not declared', `${absent.need}: ${absent.reason}`)
  if (test === lastTest) await suite.release()
  const bench = benchOf(suite)
  const limit = testTimeoutMs(suite.setup)
  const late = new AbortController()
  try {
    await Promise.race([
      run(bench),
      delay(limit, undefined, { signal: late.signal }).then(() => {
        throw new Error(`not done within ${limit} ms`)
      }),
    ])
    await bench.end(true)
    return done('pass')
  } catch (error) {
    await bench.end(false).catch(() => undefined)
    return done('fail', textOf(error))
  } finally {
    late.abort()
  }
}

/** With causes, without stacks of the suite's own machinery. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  const code = 'code' in error && typeof error.code === 'string' && error.name === 'ProviderError' ? `${error.code}: ` : ''
  return `${code}${error.message}${cause === undefined ? '' : `\n  because ${textOf(cause)}`}`
}
