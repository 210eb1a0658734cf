import { expect, test } from 'vitest'
import { createLogLeap, fileBytesOf } from './leap.ts'

const at = (end: string): string => `2027-01-15T08:00:0${end}`

test('a file may be left out where one can have ended, in the time that its lines take, and while nobody waited for more', () => {
  const leap = createLogLeap(1_000_000_000)
  expect(leap.over(at('1Z'), 1e9)).toBe(false)
  leap.note(at('1.5Z'))
  expect(leap.over(at('2.5Z'), 1e9)).toBe(false)
  expect(leap.over(at('2.500001Z'), 1e9)).toBe(true)
  expect(leap.over(at('9Z'), 1e9 - 1)).toBe(false)
  leap.waited(6000)
  expect(leap.over(at('8.5Z'), 1e9)).toBe(false)
  expect(leap.over(at('8.6Z'), 1e9)).toBe(true)
  // Of either stream, the newest counts; and so short a wait may be the engine's own.
  leap.note(at('1Z'))
  leap.waited(4999)
  expect(leap.over(at('2.6Z'), 1e9)).toBe(true)
  leap.begin()
  expect(leap.over(at('9Z'), 1e9)).toBe(false)
})

test('the size of a file is what its container was made with', () => {
  const sizeOf = (size: string): number => fileBytesOf({ Config: { 'max-size': size } })
  expect(['16g', '50k', '10m', '1000', '1KB'].map(sizeOf)).toEqual([16 * 1024 ** 3, 51_200, 10 * 1024 ** 2, 1000, 1024])
  expect([fileBytesOf(undefined), fileBytesOf({ Config: null }), sizeOf('-1')]).toEqual([Infinity, Infinity, Infinity])
})
