import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { memoryOf, watchMemory } from './memory.ts'

const { readFile } = fs
/** What each look finds; the last one stays. */
let looks: (string | Error)[]
const read: unknown[] = []
beforeEach(() => {
  vi.useFakeTimers()
  read.length = 0
  fs.readFile = (async (path: unknown) => {
    read.push(path)
    const [next = ''] = looks.length > 1 ? looks.splice(0, 1) : looks
    if (next instanceof Error) throw next
    return next
  }) as unknown as typeof readFile
  syncBuiltinESMExports()
})
afterEach(() => {
  fs.readFile = readFile
  syncBuiltinESMExports()
  vi.useRealTimers()
})

const kib = (amount: number): string => `Name:\tnode\nVmPeak:\t 999999999 kB\nVmRSS:\t  ${amount} kB\nThreads:\t7\n`
const failed = (code?: string): Error => Object.assign(new Error('no'), code === undefined ? {} : { code })
function watch(...found: (string | Error)[]): { told: number[]; stop: () => void } {
  looks = found
  const told: number[] = []
  return { told, stop: watchMemory(7, { limitMb: 10, over: (mb) => void told.push(mb) }) }
}

test('a plugin may have twice its heap, and what Node itself needs', () => {
  expect(memoryOf({ limits: { startMs: 1, retireMs: 1, inFlight: 1, heapMb: 64 } })).toBe(256)
})

test('one that takes more than it may is told once, by the MiB that it has begun', async () => {
  const { told } = watch(kib(1024), kib(10 * 1024), kib(10 * 1024 + 1))
  await vi.advanceTimersByTimeAsync(500)
  expect([told, read]).toEqual([[], ['/proc/7/status', '/proc/7/status']])
  await vi.advanceTimersByTimeAsync(5000)
  expect([told, read.length, vi.getTimerCount()]).toEqual([[11], 3, 0])
})

test.each(['ENOENT', 'ESRCH'])('one that is gone is looked at no more: %s', async (code) => {
  const { told } = watch(failed(code))
  await vi.advanceTimersByTimeAsync(1000)
  expect([told, read.length, vi.getTimerCount()]).toEqual([[], 1, 0])
})

test('a look that fails says nothing: the next one may find what is too much', async () => {
  const { told } = watch(failed('EMFILE'), failed(), kib(20 * 1024))
  await vi.advanceTimersByTimeAsync(1000)
  expect(told).toEqual([20])
})

test('a system that does not tell is not asked again, nor is one when told to stop', async () => {
  watch('Name:\tnode\n')
  await vi.advanceTimersByTimeAsync(1000)
  expect([read.length, vi.getTimerCount()]).toEqual([1, 0])
  const { told, stop } = watch(kib(1), kib(99 * 1024))
  await vi.advanceTimersByTimeAsync(250)
  stop()
  await vi.advanceTimersByTimeAsync(5000)
  expect([told, vi.getTimerCount()]).toEqual([[], 0])
})
