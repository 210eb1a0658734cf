import { expect, test } from 'vitest'
import type { Conditions } from './api.ts'
import { startClockWatch } from './clock-watch.ts'
import { steadyTime } from './clock.ts'

test('a clock that decides and is not that of the machine is told until it is again', async () => {
  let [wall, monotonic] = [1_000_000_000_000, 0]
  let round = (): void => undefined
  let stopped = false
  const told: string[] = []
  const conditions: Pick<Conditions, 'raise' | 'clear'> = {
    raise: ({ type, message }) => void told.push(`${type}: ${message}`),
    clear: ({ type }) => void told.push(`${type} cleared`),
  }
  const now = steadyTime({ wall: () => wall, monotonic: () => monotonic })
  const after = (_ms: number, run: () => void): (() => void) => {
    round = run
    return () => void (stopped = true)
  }
  const stop = startClockWatch({ conditions, clock: { now, wall: () => wall, after } })
  const next = (ms: number): string | undefined => {
    for (let left = ms; left > 0; left -= 1000) {
      monotonic += 1000
      wall += 1000
      now()
    }
    round()
    return told.at(-1)
  }
  expect(told).toEqual(['clock-differs cleared'])
  // Stopped for two minutes.
  wall += 120_000
  monotonic += 120_000
  expect(next(10_000)).toContain("more than a minute behind the machine's")
  expect(next(1_800_000)).toContain('more than 10 seconds behind')
  expect(next(1_200_000)).toBe('clock-differs cleared')
  wall -= 3_700_000
  expect(next(10_000)).toContain('more than an hour ahead of')
  await stop()
  expect(stopped).toBe(true)
})
