import { expect, test } from 'vitest'
import { sumTotals, totalsLine } from './totals.mjs'

test('totals are a line, and lines add up', () => {
  const lines = [totalsLine({ passed: 3, failed: 0, skipped: 0 }), totalsLine({ passed: 4, failed: 1, skipped: 2 })]
  expect(lines).toEqual(['3 passed, 0 failed', '4 passed, 1 failed, 2 skipped'])
  expect(sumTotals(['noise 9 passed, 9 failed', ...lines, ''].join('\n'))).toEqual({ passed: 7, failed: 1, skipped: 2 })
})
