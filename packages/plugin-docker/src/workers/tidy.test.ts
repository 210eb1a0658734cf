import { expect, test } from 'vitest'
import type { EngineRequest } from '../client.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import { failure, id, scriptedEngine, specOf, tags } from '../testing/scripted.test.helper.ts'

const pool = { 'muster-owner': 'o', 'muster-provider': 'docker', 'muster-pool': 'p', 'muster-part': 'pool' }
const cache = { ...pool, 'muster-part': 'volume', 'muster-cache': 'c', 'muster-cache-max-bytes': '10' }
const caches = ['muster-cache-large', 'muster-cache-small', 'other'].map((Name) => ({ Name, Labels: cache }))
const how = { graceMs: 0, force: true, reason: 'test' }
const unknown = (number: number): string => `w${String(number).padStart(26, '0')}`
/** What was begun has come as far as it does with answers that are there. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** An engine that a pool has left caches and networks on; `first` may answer instead. */
function leftOver(first: (request: EngineRequest) => unknown = () => undefined) {
  const asked: string[] = []
  const scripted = scriptedEngine((request) => {
    const { method, path, query } = request
    const labels = JSON.stringify(query?.['filters'] ?? {})
    if (method === 'DELETE' || path === '/system/df') asked.push(`${method} ${path}`)
    const answer = first(request)
    if (answer !== undefined) return answer
    if (path === '/system/df')
      return { Volumes: caches.map(({ Name }) => ({ Name, UsageData: { Size: Name === 'muster-cache-small' ? 9 : 11 } })) }
    if (path === '/volumes' && labels.includes('"muster-cache"')) return { Volumes: caches }
    if (path === '/networks' && labels.includes('=pool'))
      return ['muster-pool-x', 'other'].map((Name) => ({ Id: `n-${Name}`, Name, Labels: pool }))
    return undefined
  })
  return { ...scripted, asked }
}

test('what pools have left goes after a terminate; what has not our name stays, and sizes are not measured again and again', async () => {
  const { provider, asked } = leftOver()
  for (let number = 0; number < 3; number++)
    expect(await provider.terminate({ id: unknown(number) }, how, callOf())).toEqual({ state: 'gone' })
  await settled()
  expect(new Set(asked)).toEqual(
    new Set(['DELETE /networks/n-muster-pool-x', 'GET /system/df', 'DELETE /volumes/muster-cache-large']),
  )
  expect(asked.filter((line) => line.startsWith('GET'))).toHaveLength(1)
})

test('trouble with it is no trouble of the terminate, and keeps the rest from nothing', async () => {
  for (const refuses of ['/networks/n-muster-pool-x', '/system/df']) {
    const { provider, asked } = leftOver(({ path }) => {
      if (path === refuses) throw failure(500, 'a disk usage operation is already running')
    })
    const logged: string[] = []
    expect(await provider.terminate({ id: unknown(1) }, how, callOf({ log: (line) => logged.push(line) }))).toEqual({
      state: 'gone',
    })
    await settled()
    expect(asked).toContain('DELETE /networks/n-muster-pool-x')
    expect(logged.join()).toContain('already running')
  }
})

test('nobody waits for it, and it is done once for all who ask meanwhile', async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<undefined>()
  const { provider, asked } = leftOver(({ path }) => (path === '/networks/n-muster-pool-x' ? held : undefined))
  for (let number = 0; number < 5; number++) await provider.terminate({ id: unknown(number) }, how, callOf())
  await settled()
  expect(asked).toEqual(['DELETE /networks/n-muster-pool-x'])
  release(undefined)
  await settled()
  // Once more for those who asked later.
  expect(asked.filter((line) => line.includes('muster-pool-x'))).toHaveLength(2)
})

test('a pool that is taken away, and a launch that failed, leave no network', async () => {
  const pools = leftOver()
  await pools.provider.unpreparePool({ pool: { pool: 'p', tags }, handle: { v: 1, data: {} } }, callOf())
  expect(pools.asked).toContain('DELETE /networks/n-muster-pool-x')
  const launches = leftOver(({ path }) => {
    if (path === `/containers/muster-${id}/start`) throw failure(400, 'executable file not found')
  })
  await expect(launches.provider.launch(specOf({ settings: { network: { scope: 'pool' } } }), callOf())).rejects.toMatchObject({
    effect: 'none',
  })
  await settled()
  expect(launches.asked).toContain('DELETE /networks/n-muster-pool-x')
})
