import { getEventListeners } from 'node:events'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { healthOf } from './health.ts'
import type { PluginProcess } from './process.ts'

test('a process that is asked again and again leaves nothing behind with each look', async () => {
  const over = new AbortController()
  let asked = 0
  const health = healthOf(
    async () => {
      asked += 1
      return { state: asked < 3 ? 'initialising' : 'ready' }
    },
    () => undefined,
  )
  const watched = health.watch({} as PluginProcess, over.signal)
  await waitFor('it to be ready', async () => asked === 3)
  health.look()
  await waitFor('another look', async () => asked === 4)
  expect(getEventListeners(over.signal, 'abort').length).toBeLessThanOrEqual(1)
  over.abort()
  await watched
  expect(asked).toBe(4)
})
