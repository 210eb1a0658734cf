import assert from 'node:assert/strict'
import test from 'node:test'
import { format, parse } from '../dist/durations.js'

for (const [text, wanted] of [
  ['1h 30m', 5_400_000],
  ['1.5s', 1500],
  ['2w 1ms', 1_209_600_001],
  ['  10m ', 600_000],
])
  test(`parses ${JSON.stringify(text)}`, () => assert.equal(parse(text), wanted))

for (const text of ['', 'soon', '5', '-1h', '1h30m'])
  test(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parse(text), RangeError))

test('reads back what it prints', () => {
  for (let value = 0; value < 10_000_000; value += 12_345) assert.equal(parse(format(value)), value)
})
