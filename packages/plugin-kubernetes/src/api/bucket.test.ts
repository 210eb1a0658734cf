import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Bucket, createBucket } from './bucket.ts'

const never = new AbortController().signal
let bucket: Bucket
let went: number[]

beforeEach(() => {
  vi.useFakeTimers({ now: 0 })
  went = []
  bucket = createBucket({ rate: 10, burst: 2, clock: () => Date.now() })
})
afterEach(() => vi.useRealTimers())

const ask = (signal: AbortSignal = never): Promise<void> => bucket.take(signal, 1_000).then(() => void went.push(Date.now()))

test('a burst goes at once, the rest at the rate, first come first served', async () => {
  const all = Promise.all([1, 2, 3, 4].map(() => ask()))
  await vi.advanceTimersByTimeAsync(1_000)
  await all
  expect(went).toEqual([0, 0, 100, 200])
})

test('whoever gives up has used nothing', async () => {
  await Promise.all([ask(), ask()])
  const given = new AbortController()
  const waiting = ask(given.signal)
  given.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  const next = ask()
  await vi.advanceTimersByTimeAsync(1_000)
  await next
  expect(went).toEqual([0, 0, 100])
})

test('a server that wants to be left alone is, also by those who wait for their turn already', async () => {
  await Promise.all([ask(), ask()])
  const waiting = ask()
  bucket.hold(800)
  await vi.advanceTimersByTimeAsync(799)
  expect(went).toEqual([0, 0])
  await vi.advanceTimersByTimeAsync(1)
  await waiting
  expect(went).toEqual([0, 0, 800])
})

test('for longer than somebody waits: he hears until when', async () => {
  bucket.hold(5_000)
  await expect(ask()).rejects.toMatchObject({ status: 429, retryAfterMs: 5_000, sent: false })
  // A shorter hold does not end a longer one.
  bucket.hold(10)
  await expect(ask()).rejects.toMatchObject({ retryAfterMs: 5_000 })
})
