import { describe, expect, test } from 'vitest'
import { abortReason, pause, raceAbort } from './waiting.ts'

const never = new Promise<never>(() => {})
const live = new AbortController().signal

describe('a race with a signal', () => {
  test('is won by the promise, either way', async () => {
    await expect(raceAbort(Promise.resolve(1), live)).resolves.toBe(1)
    await expect(raceAbort(Promise.reject(new Error('no')), live)).rejects.toThrow('no')
  })

  test('is lost with the signal, now or later, and leaves no listener', async () => {
    await expect(raceAbort(never, AbortSignal.abort(new Error('early')))).rejects.toThrow('early')
    const abort = new AbortController()
    const race = raceAbort(never, abort.signal)
    abort.abort(new Error('late'))
    await expect(race).rejects.toThrow('late')
    await expect(pause(60_000, AbortSignal.timeout(5))).rejects.toMatchObject({ name: 'TimeoutError' })
    await pause(1, live)
  })

  test('a promise that fails after the race was given up ends nothing', async () => {
    const heard: unknown[] = []
    const hear = (reason: unknown): void => void heard.push(reason)
    process.on('unhandledRejection', hear)
    const { promise, reject } = Promise.withResolvers<never>()
    await expect(raceAbort(promise, AbortSignal.abort(new Error('early')))).rejects.toThrow('early')
    reject(new Error('late'))
    // Node tells of it once the turn is over.
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', hear)
    expect(heard).toEqual([])
  })

  test('a reason that is no error becomes one', () => {
    expect(abortReason(AbortSignal.abort('words'))).toMatchObject({ name: 'AbortError' })
  })
})
