// Each mutant against its tests: killed when they fail with it.
import { failuresOf, totalsLine } from '../totals.mjs'
import { appendFileSync } from 'node:fs'

/** @typedef {import('./list.mjs').Ready} Ready */
/** @typedef {import('./vitest.mjs').TestRun} TestRun */
/** @typedef {(tests: string[], how: { change?: import('./vitest.mjs').Change, timeoutMs: number }) => Promise<TestRun>} RunTests */
/** @typedef {'killed' | 'timed out' | 'survived' | 'never loaded'} Verdict */
/** @typedef {{ mutant: Ready, verdict: Verdict, seconds: number, failed: string }} Judged */

/** All tests at once, without mutants, on a machine that does much else. */
const allMs = 600_000
/** Tests have time-outs of their own; this ends a loop that never turns. */
const leastMs = 60_000

/**
 * The tests must be green first: a mutant that falls to a red test proves nothing.
 * @param {Ready[]} mutants
 * @param {{ run: RunTests, atOnce: number, tell: (line: string) => void }} how
 * @returns {Promise<{ judged: Judged[], red?: string }>}
 */
export async function judgeAll(mutants, { run, atOnce, tell }) {
  const tests = [...new Set(mutants.flatMap((one) => one.tests))].sort()
  const before = await run(tests, { timeoutMs: allMs })
  if (before.outcome !== 'passed') return { judged: [], red: before.failed || `FAILED: all of them together, ${before.outcome}` }
  // A machine that was slow with all of them is slow with each.
  const timeoutMs = Math.max(leastMs, before.seconds * 1000)
  tell(
    `mutants: ${mutants.length} against ${tests.length} test files, which are green without them (${before.seconds.toFixed(1)} s)`,
  )
  /** @type {Judged[]} */
  const judged = []
  const left = [...mutants]
  const work = async () => {
    for (let mutant = left.shift(); mutant !== undefined; mutant = left.shift()) {
      const one = await judge(mutant, { run, timeoutMs })
      judged.push(one)
      tell(toldOf(one))
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return { judged }
}

/** @param {Ready} mutant @param {{ run: RunTests, timeoutMs: number }} how @returns {Promise<Judged>} */
async function judge(mutant, { run, timeoutMs }) {
  const { file, source, tests } = mutant
  const { outcome, loaded, failed, seconds } = await run(tests, { change: { file, source }, timeoutMs })
  const verdict = !loaded ? 'never loaded' : outcome === 'passed' ? 'survived' : outcome === 'hung' ? 'timed out' : 'killed'
  return { mutant, verdict, seconds, failed }
}

/** @param {Judged} judged */
export function isKilled({ verdict }) {
  return verdict === 'killed' || verdict === 'timed out'
}

/** @param {Judged} judged */
function toldOf({ mutant, verdict, seconds, failed }) {
  const { file, line, why, text, instead, tests } = mutant
  const head = `${seconds.toFixed(1).padStart(5)} s  ${file}:${line}: ${why}`
  if (verdict === 'timed out') return `timed out ${head}`
  if (verdict === 'killed') return `killed    ${head}\n${' '.repeat(20)}by ${firstOf(failed)}`
  const fix =
    verdict === 'survived'
      ? `write the test that fails with it, in ${tests.join(' or ')}`
      : `no process of ${tests.join(' ')} reads the file: name the tests that do`
  return `FAILED: mutant ${verdict}: ${file}:${line}: ${why}\n  '${text}' became '${instead}': ${fix}`
}

/** @param {string} failed */
function firstOf(failed) {
  return /^FAILED: (.*)$/m.exec(failed)?.[1] ?? 'a run that ended without a word'
}

/** One line at the end, and the totals of the larger run that this may be a part of. @param {Judged[]} judged @param {number} seconds */
export function sumUp(judged, seconds) {
  const bad = judged.filter((one) => !isKilled(one))
  const byTime = judged.filter((one) => one.verdict === 'timed out').length
  const outer = process.env['MUSTER_TEST_TOTALS']
  if (outer) {
    appendFileSync(outer, `${totalsLine({ passed: judged.length - bad.length, failed: bad.length, skipped: 0 })}\n`)
    appendFileSync(failuresOf(outer), bad.map((one) => `${toldOf(one)}\n`).join(''))
  }
  return `mutants: ${judged.length - bad.length} killed (${byTime} by time), ${bad.length} not, ${Math.round(seconds)} s`
}
