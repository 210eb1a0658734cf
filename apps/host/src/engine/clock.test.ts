import { expect, test } from 'vitest'
import { steadyTime } from './clock.ts'

const hour = 3_600_000

function turned(): { now(): number; pass(ms: number, each?: number): number; wall: number; sleep(ms: number): void } {
  let monotonic = 17
  const made = {
    wall: 1_000_000_000_000,
    now: () => 0,
    /** Lets time pass, looked at every so often. */
    pass: (ms: number, each = 1000) => {
      for (let left = ms; left > 0; left -= each) {
        const step = Math.min(each, left)
        monotonic += step
        made.wall += step
        made.now()
      }
      return made.now()
    },
    /** Time that nobody looks at. */
    sleep: (ms: number) => {
      monotonic += ms
      made.wall += ms
    },
  }
  made.now = steadyTime({ wall: () => made.wall, monotonic: () => monotonic })
  return made
}

test('is the time of the wall clock as long as that runs as it should', () => {
  const clock = turned()
  expect(clock.now()).toBe(clock.wall)
  clock.pass(10 * hour)
  expect(Math.abs(clock.now() - clock.wall)).toBeLessThanOrEqual(1)
})

test.each([hour, -hour])('a step of %i ms moves nothing at once, and is made up for in a day', (step) => {
  const clock = turned()
  const before = clock.now()
  clock.wall += step
  expect(Math.abs(clock.now() - before)).toBeLessThanOrEqual(1)
  // A deadline in ten minutes comes in ten minutes, give or take half of one.
  const passed = clock.pass(600_000) - before
  expect(Math.abs(passed - 600_000)).toBeLessThanOrEqual(30_000)
  clock.pass(24 * hour)
  expect(Math.abs(clock.now() - clock.wall)).toBeLessThanOrEqual(1)
})

test('time in which nobody watched does not count at first', () => {
  const clock = turned()
  const before = clock.now()
  clock.sleep(120_000)
  expect(clock.now() - before).toBeLessThanOrEqual(5250)
  clock.pass(hour)
  expect(Math.abs(clock.now() - clock.wall)).toBeLessThanOrEqual(1)
})

test('never goes back, whatever the wall clock does, nor stands still for long', () => {
  const clock = turned()
  let last = clock.now()
  for (let round = 0; round < 500; round++) {
    clock.wall += ((round * 7919) % 13) * 600_000 - 3_600_000
    const next = clock.pass(1000, 100)
    expect(next).toBeGreaterThanOrEqual(last + 900)
    last = next
  }
})
