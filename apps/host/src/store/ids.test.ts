import { workerIdSchema } from '@muster/core'
import { expect, test } from 'vitest'
import { idSource, newId, newOwner, timeOfId } from './ids.ts'

test('ids have their letter and 26 digits, sort by making, and tell their time', () => {
  const at = Date.UTC(2026, 0, 31)
  const make = idSource(() => at)
  const ids = Array.from({ length: 5000 }, () => make('w'))
  expect(new Set(ids).size).toBe(5000)
  expect([...ids].sort()).toEqual(ids)
  for (const id of ids) expect(workerIdSchema.safeParse(id).success).toBe(true)
  expect(timeOfId(ids[4999] ?? '')).toBe(at)
})

test('a clock that steps back does not disturb the order', () => {
  const times = [1000, 900, 900, 1001]
  const make = idSource(() => times.shift() ?? 0)
  const ids = [make('l'), make('l'), make('l'), make('l')]
  expect([...ids].sort()).toEqual(ids)
})

test('later ids sort after earlier ones, owners fit a tag value', () => {
  expect(newId('r') < newId('r')).toBe(true)
  expect(newOwner()).toMatch(/^o[0-9a-z]{16}$/)
})
