/** A version that cannot start beside the one before, with real processes: who takes over from whom, and for which reasons never. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Account, Switch, Upgrades } from './engine/upgrade-api.ts'
import { fallenBack, startFallBack } from './fallback.ts'
import { startPlugins, type StartedRoom } from './plugins/room.ts'
import { configureVersion, mirrorFixture, type VersionSite, versionText } from './plugins/testing/versions.ts'
import { openRunning, type RunningState } from './running.ts'

let mirror: string
beforeAll(async () => {
  mirror = await mkdtemp(join(tmpdir(), 'muster-fall-mirror-'))
  const ofOne = `if (process.cwd().endsWith('/p')) process.exit(3)`
  const crashing = [
    { version: '2.0.0', prologue: 'process.exit(3)' },
    { version: '2.1.0', prologue: ofOne },
  ]
  await mirrorFixture(mirror, ['1.0.0', ...crashing, '3.0.0'])
})
afterAll(() => rm(mirror, { recursive: true, force: true }))

let data: string
let room: StartedRoom
let stop: () => Promise<void>
let running: RunningState
let switches: Switch[]
let warned: string[]
let lost: Account['lost']
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-fall-'))
  switches = []
  warned = []
  lost = []
})
afterEach(async () => {
  await stop()
  await room.stop()
  await rm(data, { recursive: true, force: true })
})

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const log = { ...silent, warn: (told: { reason?: string }) => void warned.push(told.reason ?? '') }
type Configured = Awaited<ReturnType<typeof configureVersion>>

async function begin(version: string, { more = { fallBack: true }, ...given }: VersionSite = {}): Promise<Configured> {
  const site = { ...given, more }
  await configureVersion(data, { mirror, version: '1.0.0', ...site })
  const now = await configureVersion(data, { mirror, version, ...site })
  // As the daemon reads it again.
  await writeFile(join(data, 'muster.yaml'), versionText(data, site))
  const fence = { epoch: () => 1, mayAct: () => true }
  room = startPlugins({ ...now, owner: 'me', fence, log: silent, random: () => 0 })
  running = openRunning({ ...now, config: { ...now.config, file: join(data, 'muster.yaml') }, written: {} })
  const upgrades: Upgrades = {
    hasLive: () => true,
    account: async () => ({ known: [], lost }),
    acknowledge: async () => [],
    refuse: async () => undefined,
    wentBack: async () => [],
    switch: async (how) => {
      switches.push(how)
      how.commit()
    },
  }
  stop = startFallBack({ running, store: join(data, 'plugins'), engine: { upgrades }, plugins: room, entries: () => [], log })
  return now
}
const status = (name = 'p'): ReturnType<ReturnType<StartedRoom['provider']>['status']> => room.provider(name).status()

async function ready(name: string): Promise<ReturnType<typeof status>> {
  await waitFor(`${name} to be ready`, () => status(name).state === 'ready')
  return status(name)
}

it('one that crashes at each start makes way for the one before, once; the lock stays as it is', async () => {
  const now = await begin('2.0.0')
  const lock = await readFile(join(data, 'plugins.lock.json'), 'utf8')
  await waitFor('the version before to run', () => status().plugin.version === '1.0.0' && status().state === 'ready')
  const [locked] = now.discovery.plugins
  const [inForce] = running.now.discovery.plugins
  expect(switches).toMatchObject([
    {
      before: '2.0.0',
      after: '1.0.0',
      providers: ['p'],
      fallBack: { provider: 'p', tree: locked?.tree, reason: expect.stringMatching(/exit 3/) as string },
    },
  ])
  expect([inForce?.manifest.version, await readFile(join(data, 'plugins.lock.json'), 'utf8')]).toEqual(['1.0.0', lock])
  expect(status().breaker).toBe('closed')

  // What the next start goes by.
  const record = { alias: 'fix', tree: locked?.tree ?? '', before_tree: inForce?.tree ?? '', since: 1 }
  const by = { config: now.config, stores: [join(data, 'plugins')] as [string] }
  const version = async (one: typeof record): Promise<unknown> =>
    (await fallenBack(now.discovery, [one], by)).plugins[0]?.manifest.version
  expect(await version(record)).toBe('1.0.0')
  expect(await version({ ...record, tree: 'sha512-other' })).toBe('2.0.0')
  expect(await version({ ...record, before_tree: 'sha512-other' })).toBe('2.0.0')
})

it('one that is well at another provider stays there, and so at all of them', async () => {
  await begin('2.1.0', { others: ['q'] })
  const { pid } = await ready('q')
  await waitFor('the other to be tried', () => warned.length > 0)
  expect([switches, warned[0]]).toEqual([[], '2.1.0 runs for q, whose plugin is the same'])
  expect([status('p').plugin.version, status('q')]).toMatchObject(['2.1.0', { state: 'ready', pid }])
})

it('where it cannot start at any of its providers, the one before takes over at all of them', async () => {
  await begin('2.0.0', { others: ['q'] })
  await waitFor('the version before to run', () => ['p', 'q'].every((name) => status(name).plugin.version === '1.0.0'))
  expect(switches).toMatchObject([{ providers: ['p', 'q'] }])
})

it('workers that only the other version knows stay with that, and are not the business of the one before', async () => {
  lost = [{ worker: 'w1', why: 'it neither lists it nor knows it by name' }]
  const { discovery } = await begin('2.0.0')
  await waitFor('the version before to run', () => status().plugin.version === '1.0.0' && status().state === 'ready')
  expect([status().kept?.version, switches[0]?.keep]).toMatchObject([
    '2.0.0',
    { providers: ['p'], tree: discovery.plugins[0]?.tree },
  ])
  // Its turn is over: it is tried again, and makes nobody else take over.
  await waitFor('it to have fallen again', () => (status().kept?.restarts ?? 0) > 6)
  expect([switches.length, status().plugin.version]).toEqual([1, '1.0.0'])
})

it('a third version that is kept stands in the way, since the lock holds two', async () => {
  lost = [{ worker: 'w1', why: 'it neither lists it nor knows it by name', kept: '0.9.0' }]
  await begin('2.0.0')
  await waitFor('it to be tried', () => warned.length > 0)
  expect([switches, warned[0]]).toEqual([[], 'an older version is kept for workers that it does not account for'])
})

it('without its entry saying so nothing takes over, and the open breaker is seen', async () => {
  await begin('2.0.0', { more: {} })
  await waitFor('it to be given up on', () => status().breaker === 'open')
  await stop()
  expect([switches, status().plugin.version]).toEqual([[], '2.0.0'])
})

it.each([
  ['is away', { probes: ['failed'] }],
  ['refuses the configuration', { create: 'refuse' }],
])('a vendor that %s is no reason', async (_, knobs) => {
  await begin('3.0.0', { knobs })
  await waitFor('it to be ill', () => status().state === 'degraded' || status().state === 'failed')
  await stop()
  expect([switches, status().plugin.version, status().breaker]).toEqual([[], '3.0.0', 'closed'])
})

it('one before that cannot start either does not take over, and that is said', async () => {
  await begin('3.0.0', { knobs: { create: 'throw' } })
  await waitFor('it to be tried', () => warned.length > 0)
  expect([switches, status().plugin.version, warned[0]]).toMatchObject([
    [],
    '3.0.0',
    expect.stringMatching(/cannot start: configure: .*out of luck/),
  ])
})
