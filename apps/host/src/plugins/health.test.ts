import { getEventListeners } from 'node:events'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { healthOf, probeOnce, whyOf } from './health.ts'
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

test('a probe that fails says so, and its hint, without a secret; one without a hint has none', async () => {
  const token = 'hunter22'
  const redactor = createRedactor()
  redactor.learn(token)
  const probed = (error: Error): Promise<unknown> => {
    const probe = async (): Promise<never> => {
      throw error
    }
    return probeOnce({ connection: { worker: { probe } } } as unknown as PluginProcess, {
      epoch: 1,
      secret: async () => ({ value: token, version: '1' }),
      redactor,
    })
  }
  expect(await probed(Object.assign(new Error(`no ${token}`), { hint: `not ${token}` }))).toEqual({
    state: 'failed',
    message: 'no [secret]',
    hint: 'not [secret]',
  })
  expect(await probed(new Error('no'))).toEqual({ state: 'failed', message: 'no' })
})

test('what is told of one that is not well is its own message, else ours', () => {
  expect(whyOf({ state: 'failed', message: 'm', hint: 'h' }, 'o')).toEqual({ reason: 'm', hint: 'h' })
  expect(whyOf({ state: 'failed' }, 'o')).toEqual({ reason: 'o' })
})
