// Totals of tests, as the one line that people and CI read.

/** @typedef {{ passed: number, failed: number, skipped: number }} Totals */

/**
 * `N passed, N failed`, with `, N skipped` when there are any.
 * @param {Totals} totals
 */
export function totalsLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

/** The file beside the totals that names what failed, and why. @param {string} totals */
export function failuresOf(totals) {
  return `${totals}.failed`
}

/**
 * The sum over all such lines of a text; anything else in it is ignored.
 * @param {string} text
 * @returns {Totals}
 */
export function sumTotals(text) {
  const sum = { passed: 0, failed: 0, skipped: 0 }
  for (const [, passed, failed, skipped = '0'] of text.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)) {
    sum.passed += Number(passed)
    sum.failed += Number(failed)
    sum.skipped += Number(skipped)
  }
  return sum
}
