/** Who stands still alone is late; who stood still with this process is not. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { waitPatiently } from './patience.ts'

/** Milliseconds by which this process has stood still: its clock goes on, its timers come late. */
let stood = 0
beforeEach(() => {
  vi.useFakeTimers()
  stood = 0
  const now = performance.now.bind(performance)
  vi.spyOn(performance, 'now').mockImplementation(() => now() + stood)
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

function waiting(): { told: string[]; stop: () => void; finish: () => void } {
  const told: string[] = []
  let done = false
  const stop = waitPatiently(30_000, {
    done: () => done,
    settled: () => void told.push('settled'),
    late: () => void told.push('late'),
  })
  return { told, stop, finish: () => void (done = true) }
}

test('it is late after that time and not before, and told once', () => {
  const { told } = waiting()
  vi.advanceTimersByTime(29_999)
  expect(told).toEqual([])
  vi.advanceTimersByTime(1)
  expect(told).toEqual(['late'])
  vi.advanceTimersByTime(60_000)
  expect(told).toEqual(['late'])
  expect(vi.getTimerCount()).toBe(0)
})

test('done in time it is told so, and a wait that was stopped tells nothing', () => {
  const [one, two] = [waiting(), waiting()]
  one.finish()
  two.stop()
  vi.advanceTimersByTime(60_000)
  expect([one.told, two.told, vi.getTimerCount()]).toEqual([['settled'], [], 0])
})

test('after a pause of this process it has the whole time again', () => {
  const { told } = waiting()
  vi.advanceTimersByTime(28_500)
  stood = 120_000
  vi.advanceTimersByTime(30_000)
  expect(told).toEqual([])
  vi.advanceTimersByTime(500)
  expect(told).toEqual(['late'])
})

test('a shorter pause makes it no later: what came meanwhile is read first', () => {
  const { told, finish } = waiting()
  vi.advanceTimersByTime(29_500)
  stood = 3000
  vi.advanceTimersByTime(500)
  expect(told).toEqual([])
  finish()
  vi.advanceTimersByTime(1000)
  expect(told).toEqual(['settled'])
})
