import { expect, test } from 'vitest'
import { runBounded } from './bounded.ts'

const late = { code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' }
const asleep = new Int32Array(new SharedArrayBuffer(4))

test('work that gets no time of a busy machine is tried again, for longer', () => {
  let tries = 0
  runBounded(() => {
    tries += 1
    // paced: a thread that waits has the time of the wall, and none of the processor's
    if (tries < 3) Atomics.wait(asleep, 0, 0, 400)
  }, 50)
  // More where the machine really is busy.
  expect(tries).toBeGreaterThanOrEqual(3)
})

test('work that never ends is cut off by the time that it uses, not tried again', () => {
  let tries = 0
  const endless = (): void => {
    tries += 1
    for (;;);
  }
  expect(() => runBounded(endless, 100)).toThrow(expect.objectContaining(late) as Error)
  expect(tries).toBeLessThanOrEqual(5)
})

test('what waits for ever is given up in the end; a failure of the work is its own', () => {
  let tries = 0
  const waiting = (): void => {
    tries += 1
    // paced: as above, without end
    Atomics.wait(asleep, 0, 0, 60_000)
  }
  expect(() => runBounded(waiting, 40)).toThrow(expect.objectContaining(late) as Error)
  expect(tries).toBe(5)
  const broken = (): void => {
    throw new RangeError('too deep')
  }
  expect(() => runBounded(broken, 100)).toThrow('too deep')
})
