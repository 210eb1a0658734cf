import { expect, test } from 'vitest'
import { digestOf } from './digest.ts'

test('a digest is of what is said, not of its order, nor of what is not said', () => {
  const one = digestOf({ a: 1, b: [{ c: 'x', d: null }], e: undefined })
  expect(digestOf({ b: [{ d: null, c: 'x' }], a: 1 })).toBe(one)
  expect(digestOf({ b: [{ d: null, c: 'x' }], a: 2 })).not.toBe(one)
  expect(digestOf(['a', 'b'])).not.toBe(digestOf(['b', 'a']))
  expect(one).toMatch(/^[0-9a-f]{64}$/)
})
