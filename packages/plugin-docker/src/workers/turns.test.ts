import { pause } from '@muster/provider-parts/waiting'
import { describe, expect, test } from 'vitest'
import { createTurns, mapWide } from './turns.ts'

const never = new Promise<never>(() => {})
const live = new AbortController().signal

test('many at once, but no more than wanted, in their order; the first failure ends it', async () => {
  let [open, most] = [0, 0]
  const results = await mapWide([5, 1, 4, 2, 3], 2, async (item) => {
    most = Math.max(most, ++open)
    await pause(item, live)
    open--
    return item * 10
  })
  expect(results).toEqual([50, 10, 40, 20, 30])
  expect(most).toBe(2)
  await expect(mapWide([1, 2], 2, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await mapWide([], 2, () => never)).toEqual([])
})

describe('turns', () => {
  test('are one at a time for a key, and free of other keys', async () => {
    const turns = createTurns()
    const done: string[] = []
    const work = (key: string, name: string, ms: number) =>
      turns.take(key, live, async () => {
        await pause(ms, live)
        done.push(name)
      })
    await Promise.all([work('a', 'a1', 30), work('a', 'a2', 1), work('b', 'b1', 5)])
    expect(done).toEqual(['b1', 'a1', 'a2'])
  })

  test('a failure or somebody giving up holds nobody up', async () => {
    const turns = createTurns()
    const first = turns.take('a', live, () => pause(20, live))
    const hasty = turns.take('a', AbortSignal.timeout(1), () => never)
    const failing = turns.take('a', live, () => Promise.reject(new Error('no')))
    const last = turns.take('a', live, async () => 'last')
    await expect(hasty).rejects.toMatchObject({ name: 'TimeoutError' })
    await expect(failing).rejects.toThrow('no')
    expect(await last).toBe('last')
    await first
  })

  test('a doom reaches who has and who awaits a turn, not who comes later', async () => {
    const turns = createTurns()
    const seen: string[] = []
    const work = (name: string) =>
      turns.take('a', live, async (doomed) => {
        await pause(10, live)
        seen.push(`${name} ${doomed.aborted}`)
      })
    const both = [work('has'), work('awaits')]
    turns.doom('a')
    turns.doom('other')
    await Promise.all([...both, work('later')])
    expect(seen).toEqual(['has true', 'awaits true', 'later false'])
  })
})
