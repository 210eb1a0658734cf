import assert from 'node:assert/strict'
import test from 'node:test'
import { format, relative } from '../dist/durations.js'

for (const [value, options, wanted] of [
  [0, {}, '0s'],
  [90_061_001, {}, '1d 1h 1m 1s 1ms'],
  [90_061_001, { parts: 2 }, '1d 1h'],
  [999, {}, '999ms'],
])
  test(`prints ${value} as ${wanted}`, () => assert.equal(format(value, options), wanted))

test('refuses what is no duration', () => {
  for (const value of [-1, Number.NaN, Infinity]) assert.throws(() => format(value), RangeError)
})

test('tells times apart in every time zone', () => {
  const now = new Date(2026, 2, 29, 1, 0, 0)
  assert.equal(relative(new Date(now.getTime() + 7_200_000), now), 'in 2h')
  assert.equal(relative(new Date(now.getTime() - 180_000), now), '3m ago')
})
