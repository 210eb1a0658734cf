import { expect, test } from 'vitest'
import { quarantineMs, restartPauseMs } from './pauses.ts'

test('a restart is near at once, then twice as far with each fault, by chance, up to half a minute', () => {
  expect([1, 2, 3, 50].map((faults) => restartPauseMs(faults, 1))).toEqual([400, 800, 1600, 30_000])
  expect(restartPauseMs(3, 0.25)).toBe(400)
})

test('a plugin that broke the protocol is left alone for five minutes, then twice as long, up to an hour', () => {
  expect([1, 2, 3, 4, 9].map(quarantineMs)).toEqual([5, 10, 20, 40, 60].map((minutes) => minutes * 60_000))
})
