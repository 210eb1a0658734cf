import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, openHarness, poolConfig } from '../engine/testing/harness.ts'
import { tellReserved } from '../engine/disk.ts'
import { healthOf, type HealthPart, readinessOf } from './health.ts'

let h: Harness
afterEach(() => h.close())

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig(), poolConfig({ name: 'both', placement: ['one', 'two'] })],
    providers: [{ name: 'one' }, { name: 'two' }],
    ...options,
  })
}

const part = (name: string): HealthPart | undefined => readinessOf(h.engine).parts.find((one) => one.name === name)

test('all is well: every part says so', async () => {
  await open()
  expect(healthOf(h.engine)).toEqual({
    ok: true,
    parts: [
      { name: 'store', state: 'ok' },
      { name: 'term', state: 'ok' },
    ],
  })
  const ready = readinessOf(h.engine)
  expect(ready.ok).toBe(true)
  expect(ready.parts.map(({ name, state }) => [name, state])).toEqual(
    ['store', 'term', 'provider one', 'provider two', 'pool ci', 'pool both'].map((name) => [name, 'ok']),
  )
})

test('not ready while what runs print cannot be stored, and well all the same', async () => {
  await open()
  tellReserved(h.engine.conditions, true)
  expect(readinessOf(h.engine).ok).toBe(false)
  expect(part('disk')).toMatchObject({ state: 'failed', reason: expect.stringContaining('output of runs waits') })
  expect(healthOf(h.engine).ok).toBe(true)
  tellReserved(h.engine.conditions, false)
  expect(readinessOf(h.engine).ok).toBe(true)
})

test('not ready before every provider that answers was looked at once; a look that fails counts, with its reason', async () => {
  await open({
    providers: [
      { name: 'one', fault: (method) => (method === 'list-page' ? { delayMs: 5000 } : undefined) },
      {
        name: 'two',
        fault: (method) =>
          method === 'list' ? { error: new ProviderError('auth', 'the key is refused', { effect: 'none' }) } : undefined,
      },
    ],
  })
  expect(readinessOf(h.engine).ok).toBe(false)
  expect(part('provider one')).toEqual({
    name: 'provider one',
    state: 'pending',
    reason: 'its workers are listed for the first time',
  })
  expect(part('provider two')).toEqual({ name: 'provider two', state: 'degraded', reason: 'auth: the key is refused' })
  await h.pass(6000)
  expect(part('provider one')?.state).toBe('ok')
  expect(readinessOf(h.engine).ok).toBe(true)
  // The daemon itself was well all the time.
  expect(healthOf(h.engine).ok).toBe(true)
})

test('a provider that comes with another configuration does not make a daemon that serves unready', async () => {
  h = await openHarness({
    pools: [poolConfig()],
    providers: [{ name: 'one' }, { name: 'two', fault: (method) => (method === 'list-page' ? { delayMs: 5000 } : undefined) }],
  })
  await h.pass(6000)
  h.leaving.add('two')
  const pools = [poolConfig()]
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'ann', changes: [], commit: () => undefined }
  await h.engine.configure({ pools, ...settings }, how)
  await h.pass(100)
  expect(part('provider two')).toBeUndefined()
  h.gone.delete('two')
  await h.engine.configure({ pools, ...settings }, how)
  await h.settle()
  expect(part('provider two')).toMatchObject({ state: 'degraded', reason: 'its workers are listed for the first time' })
  expect(readinessOf(h.engine).ok).toBe(true)
  h.provider('two').setState('starting')
  expect(readinessOf(h.engine).ok).toBe(true)
  h.provider('two').setState('ready')
  await h.pass(6000)
  expect(part('provider two')?.state).toBe('ok')
})

test('a provider that is down degrades its pools; ready until nothing can be served', async () => {
  await open()
  h.provider('one').setState('quarantined', { reason: 'it broke the protocol', hint: 'tell its author' })
  expect(part('provider one')).toEqual({
    name: 'provider one',
    state: 'degraded',
    reason: 'it broke the protocol',
    hint: 'tell its author',
  })
  expect(part('pool ci')).toMatchObject({ state: 'degraded', reason: 'no provider of it is ready' })
  expect(part('pool both')?.state).toBe('ok')
  expect(readinessOf(h.engine).ok).toBe(true)
  h.provider('two').setState('failed', { reason: 'its config is refused' })
  expect(readinessOf(h.engine).ok).toBe(false)
  expect(part('pool both')).toMatchObject({ state: 'failed' })
  h.provider('two').setState('ready')
  await h.settle()
  expect(readinessOf(h.engine).ok).toBe(true)
  expect(healthOf(h.engine).ok).toBe(true)
})

test('a process that starts is waited for', async () => {
  await open()
  h.provider('one').setState('starting')
  expect(readinessOf(h.engine).ok).toBe(false)
  expect(part('provider one')).toMatchObject({ state: 'pending', reason: 'its process starts' })
})

test('a list that failed because the process was not there yet is no look', async () => {
  let down = false
  await open({
    providers: [
      {
        name: 'one',
        fault: (method) =>
          method === 'list' && down
            ? { error: new ProviderError('transient', 'the process is down', { effect: 'none' }) }
            : method === 'list-page' && !down
              ? { delayMs: 5000 }
              : undefined,
      },
      { name: 'two' },
    ],
  })
  down = true
  h.provider('one').setState('starting')
  await h.crash()
  expect(part('provider one')).toMatchObject({ state: 'pending', reason: 'its process starts' })
  down = false
  h.provider('one').setState('ready')
  expect(part('provider one')).toMatchObject({ state: 'pending', reason: 'its workers are listed for the first time' })
  expect(readinessOf(h.engine).ok).toBe(false)
  await h.pass(6000)
  expect(readinessOf(h.engine).ok).toBe(true)
})

test('a term that has run out is neither healthy nor ready', async () => {
  let acting = true
  await open({ engine: { fence: { epoch: () => 1, mayAct: () => acting } } })
  expect(healthOf(h.engine).ok).toBe(true)
  acting = false
  expect(healthOf(h.engine)).toMatchObject({ ok: false, parts: [{ state: 'ok' }, { name: 'term', state: 'failed' }] })
  expect(readinessOf(h.engine).ok).toBe(false)
})
