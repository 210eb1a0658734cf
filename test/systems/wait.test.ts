import { expect, test } from 'vitest'

import { waitFor } from './wait.ts'

test('answers the first thing seen that is enough', async () => {
  let count = 0
  const seen = await waitFor('a third look', () => (count += 1), { until: (value) => value >= 3, everyMs: 1 })
  expect(seen).toBe(3)
  expect(count).toBe(3)
})

test('a failing look is not yet, and the last failure is told', async () => {
  const broken = new Error('connection refused')
  const wait = waitFor('a server', () => Promise.reject(broken), { timeoutMs: 20, everyMs: 5 })
  await expect(wait).rejects.toThrow('waited 20 ms for a server; last seen: failure: connection refused')
  await expect(wait).rejects.toMatchObject({ cause: broken })
})

test('the error says what was seen last', async () => {
  const wait = waitFor('the end', () => ({ state: 'running' }), { until: () => false, timeoutMs: 20, everyMs: 5 })
  await expect(wait).rejects.toThrow("for the end; last seen: { state: 'running' }")
})

test('a look that hangs ends with the deadline', async () => {
  const wait = waitFor('an answer', () => new Promise<never>(() => {}), { timeoutMs: 20 })
  await expect(wait).rejects.toThrow('waited 20 ms for an answer; last seen: nothing yet')
})
