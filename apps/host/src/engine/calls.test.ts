import { expect, test } from 'vitest'
import { callQueues } from './calls.ts'
import type { Context } from './context.ts'
import type { Memory } from './memory.ts'
import { testClock } from './testing/clock.ts'
import { scriptedProvider } from './testing/vendor.ts'

test('when the last call for a worker settled is known, and of one without a call nothing', async () => {
  const clock = testClock()
  const provider = scriptedProvider({ name: 'one', owner: 'o', clock })
  const worker = { id: 'w1', provider: 'one', plugin_version: null, launched_at: null, provider_config: null }
  const context = {
    ...{ clock, doubtful: new Set(), kept: new Map(), settings: {}, stopping: new AbortController().signal },
    plugins: { find: () => provider },
    state: { workers: new Map([['w1', worker]]), onWorker: () => undefined },
    report: (message: string) => expect.fail(message),
  } as unknown as Context
  const memory = { heldUntil: () => 0 } as unknown as Memory
  const made = Promise.withResolvers<void>()
  const queues = callQueues(context, memory, { launch: () => made.promise, terminate: () => Promise.resolve() })
  queues.put('one', { kind: 'launch', id: 'w1' })
  expect([queues.isOpen('w1'), queues.settledAt('w1')]).toEqual([true, null])
  clock.step(clock.now() + 1000)
  made.resolve()
  for (let turns = 0; turns < 10; turns++) await Promise.resolve()
  expect([queues.isOpen('w1'), queues.settledAt('w1'), queues.settledAt('w2')]).toEqual([false, clock.now(), null])
})
