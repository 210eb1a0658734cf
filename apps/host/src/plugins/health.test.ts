import { getEventListeners } from 'node:events'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { healthOf, probeOnce } from './health.ts'
import type { PluginProcess } from './process.ts'
import { createRedactor } from './redactor.ts'

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

test('a secret is in nothing that a probe says', async () => {
  const token = 'hunter22'
  const found = { state: 'ready', message: token, hint: token, notes: [token], facts: { url: `x://${token}@y`, [token]: 'z' } }
  const worker = {
    probe: async ({ secret }: { secret(name: string): Promise<unknown> }) => {
      await secret('token')
      return found
    },
  }
  const process = { connection: { worker } } as unknown as PluginProcess
  const deps = { epoch: 1, secret: async () => ({ value: token, version: '1' }), redactor: createRedactor() }
  expect(await probeOnce(process, deps)).toEqual({
    state: 'ready',
    message: '[secret]',
    hint: '[secret]',
    notes: ['[secret]'],
    facts: { url: 'x://[secret]@y', '[secret]': 'z' },
  })
})
