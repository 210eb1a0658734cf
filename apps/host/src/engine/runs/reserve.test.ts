import { expect, test } from 'vitest'
import { testClock } from '../testing/clock.ts'
import { reserveOf, sparing } from './reserve.ts'

const MiB = 2 ** 20

test('the reserve is 256 MiB, or 2 % of a smaller disk; the disk is looked at once a second', () => {
  const clock = testClock()
  let room = { free: 300 * MiB, total: 1e12 }
  let looks = 0
  const told: boolean[] = []
  const reserve = reserveOf({ clock, room: () => ((looks += 1), room), told: (tight) => void told.push(tight) })
  reserve()
  room = { free: 255 * MiB, total: 1e12 }
  reserve()
  expect(looks).toBe(1)
  clock.step(clock.now() + 1000)
  expect(reserve).toThrow(expect.objectContaining({ name: 'StoreError', code: 'full' }))
  room = { free: 3 * MiB, total: 100 * MiB }
  clock.step(clock.now() + 1000)
  reserve()
  room = { free: MiB, total: 100 * MiB }
  clock.step(clock.now() + 1000)
  expect(reserve).toThrow('kept for the store')
  expect(looks).toBe(4)
  expect(told).toEqual([false, true, false, true])
})

test('a disk that cannot be asked has room', () => {
  const fails = (): never => {
    throw new Error('no such disk')
  }
  expect(reserveOf({ clock: testClock(), room: fails })).not.toThrow()
})

test('what is on its way to a file stops where the reserve begins, and its source is closed', async () => {
  let closed = false
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.from('x')
    } finally {
      closed = true
    }
  }
  let left = 3
  const reserve = (): void => {
    if (left-- === 0) throw new Error('full')
  }
  const got: Uint8Array[] = []
  await expect(
    (async () => {
      for await (const chunk of sparing(source(), reserve)) got.push(chunk)
    })(),
  ).rejects.toThrow('full')
  expect([got.length, closed]).toEqual([3, true])
})
