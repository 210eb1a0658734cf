import { statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import type { Conditions } from './api.ts'
import { roomNow, roomOf, startDiskWatch } from './disk.ts'
import { systemClock } from './clock.ts'

test('little room is a condition with a hint, until there is clearly more again', async () => {
  const held = new Map<string, string>()
  const conditions: Pick<Conditions, 'raise' | 'clear'> = {
    raise: ({ type, hint }) => void held.set(type, hint),
    clear: ({ type }) => void held.delete(type),
  }
  const gib = 2 ** 30
  let room = { free: 1.9 * gib, total: 100 * gib }
  let looks = 0
  let again = (): void => undefined
  const stop = startDiskWatch({
    dataDir: '/',
    conditions: conditions as Conditions,
    clock: {
      ...systemClock,
      after: (_ms, work) => {
        again = work
        looks += 1
        return () => undefined
      },
    },
    room: async () => room,
  })
  const next = async (free: number, total: number): Promise<boolean> => {
    room = { free, total }
    const before = looks
    again()
    await waitFor('the next look', () => looks > before)
    return held.has('disk-low')
  }
  await waitFor('the first look', () => looks === 1)
  expect(held.get('disk-low')).toContain('muster storage')
  expect(await next(2.1 * gib, 100 * gib)).toBe(true)
  expect(await next(3 * gib, 100 * gib)).toBe(false)
  expect(await next(1 * gib, 2 * gib)).toBe(false)
  expect(await next(0.05 * gib, 2 * gib)).toBe(true)
  // A run that waits for the last of it tells sooner; the watch tells when it is over.
  expect(held.has('output-waits')).toBe(false)
  await next(0.01 * gib, 2 * gib)
  expect(held.get('output-waits')).toContain('by themselves')
  await next(1 * gib, 2 * gib)
  expect([...held]).toEqual([])
  await stop()
})

test('room is told in bytes, however large the blocks of the disk are', async () => {
  const { blocks, bsize } = statfsSync(tmpdir())
  for (const { free, total } of [await roomOf(tmpdir()), roomNow(tmpdir())]) {
    expect(total).toBe(blocks * bsize)
    // How much is free changes from one moment to the next; that it is whole blocks does not.
    expect(free % bsize).toBe(0)
  }
})
