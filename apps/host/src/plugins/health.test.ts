import { getEventListeners } from 'node:events'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { healthOf, type Probed, probeOnce, whyOf } from './health.ts'
import type { PluginProcess } from './process.ts'
import { createRedactor } from './redactor.ts'
import { pausedTimers } from './testing/pauses.ts'
import { straw } from './testing/straw.ts'

test('a process is asked again as soon as its state wants it, and leaves nothing behind with each look', async () => {
  using paused = pausedTimers()
  const over = new AbortController()
  const answers: Probed[] = [{ state: 'initialising' }, { state: 'failed' }, { state: 'ready' }, { state: 'ready' }]
  const told: string[] = []
  const left = [...answers]
  const health = healthOf(
    async () => left.shift() ?? { state: 'ready' },
    ({ state }) => told.push(state),
  )
  const watched = health.watch({} as PluginProcess, over.signal)
  await paused.pass()
  await paused.pass()
  await waitFor('it to be ready', () => told.length === 3, { everyMs: 2 })
  // Nothing is asked of one that is well, until somebody wants it; then many who want it are one.
  expect(paused.ms).toEqual([1000, 15_000])
  health.look()
  health.look()
  await paused.pass()
  await waitFor('another look', () => told.length === 4, { everyMs: 2 })
  expect(paused.ms).toEqual([1000, 15_000, 1000])
  expect(getEventListeners(over.signal, 'abort').length).toBeLessThanOrEqual(1)
  over.abort()
  await watched
  expect([told, getEventListeners(over.signal, 'abort')]).toEqual([answers.map(({ state }) => state), []])
})

test('what a process says once it is over is told to nobody, and it is not asked again', async () => {
  const over = new AbortController()
  const told: string[] = []
  let asked = 0
  const health = healthOf(
    async () => {
      asked += 1
      over.abort()
      return { state: 'failed' }
    },
    ({ state }) => told.push(state),
  )
  await health.watch({} as PluginProcess, over.signal)
  await health.watch({} as PluginProcess, over.signal)
  expect([asked, told]).toEqual([1, []])
})

test('a probe that fails is the plugin’s own fault, unless it or what it said points to its vendor', async () => {
  const probed = (error: Error, said: string[] = []): Promise<Probed> => {
    const one = straw(error)
    one.said.push(...said)
    return probeOnce(one.process, {
      epoch: 1,
      secret: async () => ({ value: 'x', version: '1' }),
      redactor: createRedactor(),
    })
  }
  const broken = new ProviderError('internal', 'it is broken')
  expect(await probed(broken)).toEqual({ state: 'failed', message: 'it is broken', own: true })
  expect(await probed(broken, ['ECONNREFUSED'])).toEqual({ state: 'failed', message: 'it is broken' })
  expect(await probed(new ProviderError('transient', 'it is away'))).toEqual({ state: 'failed', message: 'it is away' })
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
