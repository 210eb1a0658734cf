import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { tellWaiting } from './waiting.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('tells a reason after a while, then only another one, and nothing once there is a worker', async () => {
  const reasons = ['', 'it is degraded', 'it is degraded', 'the pool is full', 'never asked for']
  const told: string[] = []
  using waiting = tellWaiting(
    async () => reasons.shift() ?? '',
    async (reason) => void told.push(reason),
  )
  waiting.note({ state: 'queued' })
  await vi.advanceTimersByTimeAsync(2000)
  waiting.note({ state: 'queued' })
  await vi.advanceTimersByTimeAsync(2000)
  expect([reasons.length, told]).toEqual([4, []])
  await vi.advanceTimersByTimeAsync(20_000)
  expect(told).toEqual(['it is degraded'])
  await vi.advanceTimersByTimeAsync(10_000)
  expect(told).toEqual(['it is degraded', 'the pool is full'])
  waiting.note({ state: 'queued', worker: 'w1' })
  await vi.advanceTimersByTimeAsync(60_000)
  expect([reasons.length, told.length]).toEqual([1, 2])
})

it('goes on when the reason cannot be had, and says nothing that came too late', async () => {
  const told: string[] = []
  const answers: ((reason: string) => void)[] = []
  let fails = true
  const waiting = tellWaiting(
    () => (fails ? Promise.reject(new Error('away')) : new Promise((resolve) => answers.push(resolve))),
    async (reason) => void told.push(reason),
  )
  waiting.note({ state: 'queued' })
  await vi.advanceTimersByTimeAsync(3000)
  fails = false
  await vi.advanceTimersByTimeAsync(10_000)
  expect(answers).toHaveLength(1)
  waiting[Symbol.dispose]()
  answers[0]?.('late')
  await vi.advanceTimersByTimeAsync(60_000)
  expect(told).toEqual([])
})
