import { expect, test } from 'vitest'
import { begunAgain } from './again.ts'
import type { ContainerInspect } from '../client.ts'

const id = 'w0123456789abcdefghijklmnop'

const state = (begun: string, ended = '2026-01-31T09:30:00Z'): ContainerInspect['State'] =>
  ({ Running: true, StartedAt: begun, FinishedAt: ended }) as ContainerInspect['State']

test('a resumption that was seen twice with a while between is known, until the next start', () => {
  let now = 0
  const again = begunAgain(() => now)
  const resumed = state('2026-01-31T09:31:00Z')
  expect(again.has(id, resumed)).toBe(true)
  for (const [at, known] of [
    [0, true],
    [9_999, true],
    [10_000, false],
  ] as const) {
    now = at
    again.resumed(id, resumed)
    expect([again.has(id, resumed), again.known(id)]).toEqual([known, known])
  }
  expect(again.endOf(id, resumed)).toBeUndefined()
  // Another start is nobody's until it was looked at.
  expect(again.has(id, state('2026-01-31T09:32:00Z'))).toBe(true)
  again.started(id, { container: 'c', timeNano: 1 })
  again.started(id, { container: 'c', timeNano: 1 })
  expect(again.known(id)).toBe(false)
  again.started(id, { container: 'c', timeNano: 2 })
  expect([again.known(id), again.has(id, resumed)]).toEqual([true, true])
})

test('a look soon after the start does not count for a later one', () => {
  let now = 0
  const again = begunAgain(() => now)
  again.resumed(id, state('2026-01-31T09:31:00Z'))
  now = 60_000
  again.resumed(id, state('2026-01-31T09:32:00Z'))
  expect(again.has(id, state('2026-01-31T09:32:00Z'))).toBe(true)
})
