import { expect, test } from 'vitest'
import { isFinal, mayFollow, recordPhases } from './phase.ts'

test('no phase comes back once the end has begun', () => {
  const ends = new Set<string>(['terminating', 'terminated', 'failed'])
  for (const from of ends)
    for (const to of recordPhases) if (!ends.has(to)) expect(mayFollow(from as 'failed', to), `${from} to ${to}`).toBe(false)
  expect(mayFollow('terminated', 'failed')).toBe(false)
  expect(mayFollow('failed', 'terminated')).toBe(false)
  expect(recordPhases.filter(isFinal)).toEqual(['terminated', 'failed'])
})

test('every phase is reached from the first, and from every phase an end', () => {
  const reached = new Set(['queued'])
  for (const from of recordPhases) for (const to of recordPhases) if (reached.has(from) && mayFollow(from, to)) reached.add(to)
  expect([...reached].sort()).toEqual([...recordPhases].sort())
  expect(recordPhases.filter((from) => !isFinal(from) && !mayFollow(from, 'failed'))).toEqual([])
})
