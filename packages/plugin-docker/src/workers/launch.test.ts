import type { LaunchSpec } from '@muster/core'
import { describe, expect, test } from 'vitest'
import type { EngineRequest } from '../client.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import { labelsOf } from '../labels.ts'
import { failure, id, scriptedEngine, specOf } from '../testing/scripted.test.helper.ts'

const own = `muster-${id}`
const restricted = (...allow: string[]): Partial<LaunchSpec> => ({ network: { egress: 'restricted', allow } })
const beside = (image: string): Partial<LaunchSpec> => ({ services: [{ name: 's', image }] })
/** No resolver is asked for it: a part of a name has at most 63 letters. */
const unresolvable = `${'a'.repeat(64)}.example`

describe('a launch that fails after its container was made', () => {
  const pullFails = (error: Error) => (request: EngineRequest) => {
    if (request.path === '/images/create') throw error
  }
  const startFails = (error: Error) => (request: EngineRequest) => {
    if (request.path === `/containers/${own}/start`) throw error
  }

  test.each<[string, Partial<LaunchSpec>, (request: EngineRequest) => unknown, string]>([
    ['for a name without an address', restricted(unresolvable), () => {}, 'transient'],
    ["for a service's image that wants a login", beside('absent'), pullFails(failure(500, 'unauthorized')), 'auth'],
    ['for a registry that has had enough', beside('absent'), pullFails(failure(500, 'toomanyrequests')), 'throttled'],
    [
      'for a helper that is refused',
      restricted(),
      ({ path, query }) => {
        if (path === '/containers/create' && query?.['name'] === `${own}-gate`) throw failure(403, 'no')
      },
      'auth',
    ],
    ['for a start that is refused', {}, startFails(failure(429, 'later')), 'throttled'],
    [
      'as hopeless, and is not removed',
      {},
      (request) => {
        startFails(failure(400, 'executable file not found'))(request)
        if (request.method === 'DELETE') throw failure(500, 'device is busy')
      },
      'invalid-spec',
    ],
  ])('%s may have left something', async (...[, parts, first, code]) => {
    const { provider, containers } = scriptedEngine(first)
    await expect(provider.launch(specOf(parts), callOf())).rejects.toMatchObject({ code, effect: 'possible' })
    expect([...containers.keys()]).toContain(own)
  })

  test('as hopeless, and is removed with all that it had, has left nothing', async () => {
    const { provider, containers } = scriptedEngine(startFails(failure(400, 'executable file not found')))
    await expect(provider.launch(specOf(restricted()), callOf())).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none' })
    expect([...containers.keys()]).toEqual([])
  })
})

test('a limit that the engine dropped is found also when its warning was lost', async () => {
  const { provider, containers, engine } = scriptedEngine((request) => {
    if (request.path !== '/containers/create' || request.body === undefined) return
    const { HostConfig } = request.body as { HostConfig: { BlkioWeight?: number } }
    delete HostConfig.BlkioWeight
  })
  const spec = specOf({ settings: { ioWeight: 10 } })
  const { signal } = callOf()
  const body = { Labels: labelsOf(spec), HostConfig: { BlkioWeight: 10 } }
  await engine.json({ method: 'POST', path: '/containers/create', query: { name: own }, body, signal })
  await expect(provider.launch(spec, callOf())).rejects.toMatchObject({
    ...{ code: 'unsupported', path: 'settings.ioWeight', effect: 'none' },
  })
  expect(containers.size).toBe(0)
})

describe('what another process has started meanwhile', () => {
  const start = { method: 'POST', path: `/containers/${own}/start` } as EngineRequest

  test('is launched, though our own try failed as hopeless', async () => {
    const { provider, containers } = scriptedEngine(async (request, { engine }) => {
      if (request.path !== `/containers/${own}-gate/start`) return
      await engine.json({ ...start, signal: request.signal })
      throw failure(400, 'executable file not found')
    })
    await provider.launch(specOf(restricted()), callOf())
    expect(containers.get(own)?.status).toBe('running')
  })

  test('between our look and our removal, is not removed', async () => {
    const { provider, containers } = scriptedEngine(async (request, { engine }) => {
      if (request.path === start.path && request.body === undefined) throw failure(400, 'executable file not found')
      if (request.method === 'DELETE') await engine.json({ ...start, body: {}, signal: request.signal })
    })
    await expect(provider.launch(specOf(), callOf())).rejects.toMatchObject({ code: 'invalid-spec', effect: 'possible' })
    expect(containers.get(own)?.status).toBe('running')
  })

  test('and is being removed, is not launched', async () => {
    const { provider } = scriptedEngine((request, { containers }) => {
      const there = containers.get(own)
      if (there !== undefined && request.path === start.path) {
        there.status = 'removing'
        throw failure(409, 'removal of container x is already in progress')
      }
    })
    await expect(provider.launch(specOf(), callOf())).rejects.toMatchObject({ code: 'conflict', effect: 'possible' })
  })
})

test('a launch that waits for a service gives up when its worker is terminated', async () => {
  const name = `${own}-s-s`
  const waiting = Promise.withResolvers<void>()
  const { provider, containers } = scriptedEngine(({ method, path }) => {
    if (method !== 'GET' || path !== `/containers/${name}/json`) return undefined
    waiting.resolve()
    return { State: { Running: true, Health: { Status: 'starting' } }, Config: {}, HostConfig: {} }
  })
  const check = { kind: 'exec' as const, command: ['ready'] }
  const readiness = { check, intervalMs: 1000, timeoutMs: 1000, failures: 60 }
  const launching = provider.launch(specOf({ services: [{ name: 's', image: 'i', readiness }] }), callOf())
  const failed = launching.catch((error: unknown) => error)
  await waiting.promise
  const how = { graceMs: 0, force: true, reason: 'test' }
  expect(await provider.terminate({ id }, how, callOf({ timeoutMs: 5000 }))).toEqual({ state: 'gone' })
  expect(await failed).toMatchObject({ code: 'cancelled', effect: 'none' })
  expect(containers.size).toBe(0)
})
