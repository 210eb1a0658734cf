import type { PluginManifest } from '@muster/core'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { unseen } from './door.ts'
import { openPulse, type Pulse, pulseTimes } from './pulse.ts'

const { everyMs, silentMs } = pulseTimes
let told: string[]
let answers: (() => void)[]
let stop: AbortController
let pulse: Pulse
beforeEach(() => {
  vi.useFakeTimers({ now: 0 })
  told = []
  answers = []
  stop = new AbortController()
  pulse = openPulse({
    now: Date.now,
    times: pulseTimes,
    tell: ({ reason }) => told.push(/since \S+Z/.exec(reason)?.[0] ?? reason),
    look: () => told.push('looks'),
  })
})
afterEach(() => {
  stop.abort()
  vi.useRealTimers()
})

function watch(): void {
  const describe = (): Promise<PluginManifest> =>
    new Promise((resolve) => answers.push(() => resolve({} as unknown as PluginManifest)))
  pulse.watch({ describe }, stop.signal)
}

const silentAt = (ms: number): string => `since ${new Date(ms).toISOString()}`
const oneLook = (): Promise<unknown> => vi.advanceTimersByTimeAsync(everyMs)

test('a process that answers each question is never silent', async () => {
  watch()
  for (let asked = 1; asked <= 10; asked++) {
    await oneLook()
    expect(answers).toHaveLength(asked)
    answers.at(-1)?.()
  }
  await vi.advanceTimersByTimeAsync(0)
  expect(pulse.status().silentSince).toBeUndefined()
  expect(pulse.asking).toBe(0)
  expect(told).toEqual([])
})

test('one that answers nothing is said to be silent at the first look, told of once after a while, and said to be back', async () => {
  watch()
  await oneLook()
  expect(pulse.status().silentSince).toBeUndefined()
  await oneLook()
  expect(pulse.status().silentSince).toBe(everyMs)
  await vi.advanceTimersByTimeAsync(silentMs - everyMs - 1)
  expect(told).toEqual([])
  await vi.advanceTimersByTimeAsync(10 * silentMs)
  expect(told).toEqual([silentAt(everyMs)])
  // It is asked one thing at a time.
  expect(answers).toHaveLength(1)
  answers[0]?.()
  await vi.advanceTimersByTimeAsync(0)
  expect(told).toEqual([silentAt(everyMs), 'it was silent, answers again, and is probed', 'looks'])
  expect(pulse.status().silentSince).toBeUndefined()
})

test('one that answers late, and not too late, is no trouble', async () => {
  watch()
  await oneLook()
  await vi.advanceTimersByTimeAsync(silentMs - 1)
  answers[0]?.()
  await vi.advanceTimersByTimeAsync(0)
  expect(told).toEqual([])
  expect(pulse.status().silentSince).toBeUndefined()
})

test('while this process stood still nobody was silent', async () => {
  watch()
  await oneLook()
  // The clock is an hour on, and one look of all that were due comes.
  vi.setSystemTime(3_600_000)
  await oneLook()
  expect(told).toEqual([])
})

test('a process that is let go of is not told of, and the next one begins anew', async () => {
  watch()
  await vi.advanceTimersByTimeAsync(3 * everyMs)
  stop.abort()
  expect(pulse.status().silentSince).toBeUndefined()
  const [late] = answers.splice(0)
  stop = new AbortController()
  watch()
  await oneLook()
  late?.()
  await vi.advanceTimersByTimeAsync(silentMs)
  expect(told).toEqual([silentAt(4 * everyMs)])
})

test('the oldest call that is open is known, and streams are none', () => {
  const see = pulse.seeing(unseen)
  const call = { provider: 'p', attempt: 1, stream: false }
  see({ ...call, method: 'watch', stream: true })
  const launch = see({ ...call, method: 'launch' })
  vi.setSystemTime(1000)
  const list = see({ ...call, method: 'list' })
  expect(pulse.status().oldestCall).toEqual({ method: 'launch', since: 0 })
  launch.end('ok')
  expect(pulse.status().oldestCall).toEqual({ method: 'list', since: 1000 })
  list.end('deadline')
  expect(pulse.status().oldestCall).toBeUndefined()
})
