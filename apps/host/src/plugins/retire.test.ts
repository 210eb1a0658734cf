import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { PluginProcess } from './process.ts'
import { retire } from './retire.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** One that hears of nothing, and ends when it is killed. */
function deaf(): { process: PluginProcess; told: string[]; end(): void } {
  const told: string[] = []
  const { promise: exited, resolve } = Promise.withResolvers<{ code: null; signal: string }>()
  const end = (): void => resolve({ code: null, signal: 'SIGKILL' })
  const connection = { retire: () => Promise.reject(new Error('deaf')), close: (why: string) => void told.push(why) }
  const kill = (): void => {
    told.push('kill')
    end()
  }
  return { process: { connection, exited, kill } as unknown as PluginProcess, told, end }
}

test('one that does not go in time is killed, and not before', async () => {
  const { process, told } = deaf()
  const over = retire(process, 1000)
  await vi.advanceTimersByTimeAsync(999)
  expect(told).toEqual(['retired'])
  await vi.advanceTimersByTimeAsync(1)
  await over
  expect(told).toEqual(['retired', 'kill'])
})

test('one that goes is left alone', async () => {
  const { process, told, end } = deaf()
  const over = retire(process, 1000)
  end()
  await over
  expect([told, vi.getTimerCount()]).toEqual([['retired'], 0])
})
