import { expect, test } from 'vitest'
import { testClock } from '../testing/clock.ts'
import type { Job } from './deps.ts'
import { enforceStop } from './watch.ts'

test('a command has the grace of its worker, also where the configuration names its pool no longer', async () => {
  const clock = testClock()
  const watch = {
    stop: () => ({ kind: 'cancelled', reason: 'by ann', force: false }),
    gone: () => false,
    stopped: Promise.resolve(),
  }
  const job = {
    deps: { engine: { clock, pools: { get: () => ({ config: { graceMs: 0 } }) } }, records: { observe: () => () => undefined } },
    run: { id: 'r', pool: 'gone' },
    worker: { grace_ms: 5000 },
    watch,
  } as unknown as Job
  const over = new AbortController()
  const done: string[] = []
  const began = clock.now()
  const tell = (what: string) => async (): Promise<void> => void done.push(`${what} after ${clock.now() - began} ms`)
  const stopped = enforceStop(job, { gentle: tell('gentle'), hard: tell('hard') }, over.signal)
  // Each step is taken only once the one before has led to all that it leads to.
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  await settle()
  while (clock.step(began + 5000)) await settle()
  await settle()
  expect(done).toEqual(['gentle after 0 ms', 'hard after 5000 ms'])
  over.abort()
  await stopped
})
