import { expect, test } from 'vitest'
import type { GuardedProvider } from './api.ts'
import { openKeptRoom, refusedProvider } from './kept.ts'
import { createRedactor } from './redactor.ts'
import type { Supervised } from './supervise.ts'
import { plainManifest } from './testing/manifest.ts'

/** Ends when the test says so. */
function running(root: string) {
  const ended = Promise.withResolvers<void>()
  const told: string[] = []
  const supervised = {
    target: () => ({ plugin: { root } }),
    retire() {
      told.push('retire')
      return ended.promise
    },
    async stop() {
      told.push('stop')
    },
  } as unknown as Supervised
  return { supervised, told, end: () => ended.resolve() }
}
const provider = { name: 'p' } as GuardedProvider

test('of each provider one version is kept; the one before it ends, and is counted until it has', async () => {
  const changed: string[] = []
  const room = openKeptRoom((name) => changed.push(name))
  const [one, two] = [running('/one'), running('/two')]
  expect([room.of('p'), room.supervised('p'), room.roots()]).toEqual([undefined, undefined, []])
  room.letGo('p')
  expect(changed).toEqual([])
  room.add('p', { version: '1.0.0', provider, supervised: one.supervised })
  expect([room.of('p')?.version, room.supervised('p'), changed]).toEqual(['1.0.0', one.supervised, ['p']])
  room.add('p', { version: '2.0.0', provider, supervised: two.supervised })
  expect([room.of('p')?.version, changed, one.told, two.told]).toEqual(['2.0.0', ['p', 'p', 'p'], ['retire'], []])
  expect([room.retiring('p'), room.retiring('q'), room.roots().sort()]).toEqual([1, 0, ['/one', '/two']])
  one.end()
  await new Promise(setImmediate)
  expect([room.retiring('p'), room.roots()]).toEqual([0, ['/two']])
  room.letGo('p')
  expect([room.of('p'), room.retiring('p')]).toEqual([undefined, 1])
  await room.stop()
  expect([one.told, two.told]).toEqual([['retire'], ['retire', 'stop']])
})

test('one that cannot be loaded is known, and has no process that would end', async () => {
  const room = openKeptRoom(() => undefined)
  room.add('p', { version: '1.0.0', provider })
  expect([room.of('p')?.version, room.supervised('p'), room.roots()]).toEqual(['1.0.0', undefined, []])
  room.letGo('p')
  expect([room.of('p'), room.retiring('p')]).toEqual([undefined, 0])
  await room.stop()
})

test('who stands for one that cannot be loaded says why, answers nothing, and is else as the one that runs', async () => {
  const manifest = plainManifest('@acme/p')
  const main = {
    ...{ name: 'p', manifest, capabilities: manifest.capabilities },
    status: () => ({ name: 'p', alias: 'fix', state: 'ready', since: 1, restarts: 3 }),
  } as unknown as GuardedProvider
  const refused = refusedProvider(
    { reason: 'its bytes are gone', hint: 'get them' },
    { main: () => main, redactor: createRedactor(), fence: { epoch: () => 1, mayAct: () => true }, since: 7 },
  )
  expect([refused.name, refused.manifest, refused.capabilities]).toEqual(['p', manifest, manifest.capabilities])
  expect(refused.status()).toEqual({
    ...{ name: 'p', alias: 'fix', state: 'failed', since: 7, restarts: 0 },
    ...{ reason: 'its bytes are gone', hint: 'get them' },
  })
  await expect(refused.list({ limit: 1 })).rejects.toMatchObject({
    ...{ code: 'transient', effect: 'none', retryAfterMs: 60_000 },
    message: expect.stringContaining('its bytes are gone'),
  })
})
