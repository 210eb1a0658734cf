import { expect, test } from 'vitest'
import { openTurns } from './turns.ts'

test('one after the other, also after one that failed; each has its own answer', async () => {
  const inTurn = openTurns()
  const gate = Promise.withResolvers<void>()
  const seen: string[] = []
  const first = inTurn(async () => {
    await gate.promise
    seen.push('first')
    throw new Error('out of luck')
  })
  const second = inTurn(() => seen.push('second'))
  await Promise.resolve()
  expect(seen).toEqual([])
  gate.resolve()
  await expect(first).rejects.toThrow('out of luck')
  expect([await second, seen]).toEqual([2, ['first', 'second']])
})
