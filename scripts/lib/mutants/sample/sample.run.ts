import { expect, test } from 'vitest'
import { clamp, untested } from './sample.ts'

test('a value stays between its bounds', () => {
  expect([clamp(-1, 5), clamp(3, 5), clamp(9, 5)]).toEqual([0, 3, 5])
  expect(untested).toBeTypeOf('function')
})
