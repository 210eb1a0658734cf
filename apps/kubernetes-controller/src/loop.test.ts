import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { createLoop } from './loop.ts'

test('a pass follows what woke it; one that fails is told, and the next one is no sooner for it', async () => {
  const stop = new AbortController()
  const failures: unknown[] = []
  let passes = 0
  const pass = async (): Promise<void> => {
    passes++
    if (passes === 2) throw new Error('away')
  }
  const loop = createLoop({ pass, onFailure: (error) => failures.push(error), everyMs: 60_000 })
  const running = loop.run(stop.signal)
  for (const wanted of [2, 3])
    await waitFor(`pass ${wanted}`, () => {
      loop.wake()
      return passes >= wanted
    })
  expect(failures).toEqual([new Error('away')])
  stop.abort()
  await running
})

test('without a cause it passes every so often, and what ends it in the middle of a pass is no failure', async () => {
  const stop = new AbortController()
  let passes = 0
  const pass = async (): Promise<void> => {
    passes++
    if (passes < 3) return
    stop.abort()
    throw new Error('cut')
  }
  const failures: unknown[] = []
  await createLoop({ pass, onFailure: (error) => failures.push(error), everyMs: 1 }).run(stop.signal)
  expect([passes, failures]).toEqual([3, []])
})
