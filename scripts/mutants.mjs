// `pnpm mutants [word …]`: every mutant of test/mutants, or those whose file or reason holds a word, against the tests that it names. One
// that its tests do not see is a missing test. With MUSTER_TEST_TOTALS each mutant counts there as a test.
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { isKilled, judgeAll, sumUp } from './lib/mutants/judge.mjs'
import { findPlaces, readLists } from './lib/mutants/list.mjs'
import { testRunner } from './lib/mutants/vitest.mjs'
import { root } from './lib/paths.mjs'

const began = performance.now()
process.exitCode = await main(process.argv.slice(2))

/** @param {string[]} words */
async function main(words) {
  const listed = readLists(join(root, 'test/mutants'))
  const { ready, problems } = findPlaces(listed, (path) => {
    const at = join(root, path)
    return existsSync(at) ? readFileSync(at, 'utf8') : undefined
  })
  if (problems.length > 0) {
    console.log(`${problems.map((one) => `FAILED: ${one}`).join('\n')}\nmutants: the list is out of date`)
    return 1
  }
  const wanted = words.length === 0 ? ready : ready.filter((one) => words.some((word) => `${one.file} ${one.why}`.includes(word)))
  if (wanted.length === 0) {
    console.log(`mutants: none has ${words.join(' or ')} in its file or reason`)
    return 2
  }
  const tests = testRunner()
  const stop = () => {
    tests.close()
    process.exit(130)
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    const { judged, red } = await judgeAll(wanted, { run: tests.run, atOnce: availableParallelism(), tell: console.log })
    if (red !== undefined) {
      console.log(`${red}\nmutants: the tests fail without any mutant: mend them first`)
      return 1
    }
    console.log(sumUp(judged, (performance.now() - began) / 1000))
    return judged.every(isKilled) ? 0 : 1
  } finally {
    tests.close()
  }
}
