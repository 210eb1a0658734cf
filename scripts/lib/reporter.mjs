// Vitest reporter: the totals of a run as one line, and every skipped test with its reason. A skip without a reason is a failure,
// and so is a run without a test. With MUSTER_TEST_TOTALS the totals are appended to that file too, and what failed to the one beside it.
import { appendFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { root } from './paths.mjs'
import { failuresOf, totalsLine } from './totals.mjs'

/** How much of an error is told again. */
const LINES_TOLD = 12

export default class TotalsReporter {
  /**
   * @param {ReadonlyArray<import('vitest/node').TestModule>} modules
   * @param {ReadonlyArray<import('vitest/node').SerializedError>} errors
   */
  onTestRunEnd(modules, errors) {
    const totals = { passed: 0, failed: errors.length, skipped: 0 }
    /** @type {Map<string, string[]>} */
    const reasons = new Map()
    const silent = []
    const failures = errors.map((error) => told('outside of any test', [error]))
    for (const module of modules) {
      const path = relative(root, module.moduleId)
      // A file that cannot even be loaded has no tests, and must not count as nothing.
      if (module.errors().length > 0) {
        totals.failed += 1
        failures.push(told(path, module.errors()))
      }
      for (const test of module.children.allTests()) {
        const result = test.result()
        const name = `${path} > ${test.fullName}`
        if (result.state === 'failed') failures.push(told(name, result.errors))
        if (result.state !== 'skipped') totals[result.state === 'passed' ? 'passed' : 'failed'] += 1
        else {
          const reason = result.note ?? /needs .+, absent: .+/.exec(test.name)?.[0]
          if (reason === undefined) silent.push(name)
          else reasons.set(reason, [...(reasons.get(reason) ?? []), name])
          totals[reason === undefined ? 'failed' : 'skipped'] += 1
        }
      }
    }
    for (const [reason, names] of reasons)
      console.log(`skipped: ${names.length} × ${reason}\n${names.map((name) => `  ${name}`).join('\n')}`)
    const more = silent.map((name) => `FAILED: skipped without a reason: ${name}\n`)
    if (totals.passed + totals.failed + totals.skipped === 0) {
      more.push('FAILED: no test ran\n')
      totals.failed += 1
    }
    process.stdout.write(more.join(''))
    if (totals.failed > 0) process.exitCode = 1
    const file = process.env['MUSTER_TEST_TOTALS']
    if (file) {
      appendFileSync(file, `${totalsLine(totals)}\n`)
      appendFileSync(failuresOf(file), [...failures, ...more].join(''))
    } else console.log(totalsLine(totals))
  }
}

/** @param {string} name @param {ReadonlyArray<{ message: string, diff?: string }>} errors */
function told(name, errors) {
  // The difference shows what the message cuts.
  const texts = errors.flatMap(({ message, diff }) => (diff === undefined ? [message] : [message, diff]))
  const lines = texts.flatMap((text) => stripVTControlCharacters(text).split('\n').slice(0, LINES_TOLD))
  return `FAILED: ${[name, ...lines].join('\n  ')}\n`
}
