/** An older version of a plugin beside the one that took over, each in a process of its own. */
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { GuardedProvider } from './api.ts'
import { discoverPrevious } from './previous.ts'
import { type RoomDeps, startPlugins, type StartedRoom } from './room.ts'
import { launchSpec } from './testing/configure.ts'
import { configureVersion, lockVersion, mirrorFixture } from './testing/versions.ts'
import { fixtureManifest } from './testing/package.ts'

let mirror: string
beforeAll(async () => {
  mirror = await mkdtemp(join(tmpdir(), 'muster-kept-mirror-'))
  await mirrorFixture(mirror, ['1.0.0', '2.0.0', '3.0.0'])
})
afterAll(() => rm(mirror, { recursive: true, force: true }))

let data: string
let room: StartedRoom
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-kept-'))
})
afterEach(async () => {
  await room.stop()
  await rm(data, { recursive: true, force: true })
})

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const deps: Pick<RoomDeps, 'owner' | 'fence' | 'log' | 'random'> = {
  owner: 'me',
  fence: { epoch: () => 1, mayAct: () => true },
  log: silent,
  random: () => 0,
}
const gate = (): string => join(data, 'gate')
const at = (version: string, knobs = {}): ReturnType<typeof configureVersion> =>
  configureVersion(data, { mirror, version, knobs: { gate: gate(), ...knobs } })

async function begin(): Promise<GuardedProvider> {
  room = startPlugins({ ...(await at('1.0.0')), ...deps })
  const provider = room.provider('p')
  await waitFor('it to be ready', () => provider.status().state === 'ready')
  room.ownedBy(() => '1.0.0')
  return provider
}

/** The second version takes over, and the first one stays. */
async function switched(): Promise<void> {
  const next = await at('2.0.0')
  const staged = await room.stage(next, next.at)
  if ('problems' in staged) throw new Error(staged.problems.map((one) => one.reason).join())
  staged.commit(new Set(['p']))
}

const isAlive = (pid: number | undefined): boolean => {
  try {
    return pid !== undefined && process.kill(pid, 0)
  } catch {
    return false
  }
}
const launch = (provider: GuardedProvider): Promise<unknown> => provider.launch(launchSpec, { idempotencyKey: 'k' })
const shown = (provider: GuardedProvider): (string | undefined)[] => {
  const { plugin, kept } = provider.status()
  return [plugin.version, kept?.version]
}

it('goes on in the process that it had, with its open calls, and ends when it is let go and they have ended', async () => {
  const provider = await begin()
  const { pid } = provider.status()
  const before = launch(provider)
  await waitFor('the call to be open', () => provider.status().inFlight > 0)
  await switched()
  // In the same turn: its workers are never without it.
  expect([shown(provider), provider.status().kept?.pid, provider.status().pid !== pid]).toEqual([['2.0.0', '1.0.0'], pid, true])
  const after = launch(provider)
  room.letGo('p')
  expect([shown(provider), provider.status().retiring, isAlive(pid)]).toEqual([['2.0.0', undefined], 1, true])
  await writeFile(gate(), '')
  expect(await Promise.all([before, after])).toMatchObject([{ handle: { v: 1 } }, { handle: { v: 1 } }])
  await waitFor('its process to be gone', () => !isAlive(pid) && provider.status().retiring === 0)
  await room.stop()
})

it('is started again when it falls, while the other knows nothing of it; with another configuration both are new', async () => {
  const provider = await begin()
  await switched()
  await writeFile(gate(), '')
  const { pid, kept } = provider.status()
  const told: (string | undefined)[] = []
  room.onKept(() => told.push(provider.status().kept?.state))
  process.kill(kept?.pid ?? 0, 'SIGKILL')
  await waitFor('it to have fallen', () => provider.status().kept?.state === 'degraded')
  await expect(launch(provider)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  room.ownedBy(() => '2.0.0')
  expect(await launch(provider)).toMatchObject({ handle: { v: 1 } })
  await waitFor('it to be there again', () => provider.status().kept?.state === 'ready')
  expect([told, provider.status()]).toMatchObject([['degraded', 'ready'], { pid, restarts: 0, kept: { restarts: 1 } }])

  const again = provider.status().kept?.pid
  const next = await at('2.0.0', { starts: join(data, 'starts') })
  const staged = await room.stage(next, next.at)
  if ('problems' in staged) throw new Error('it should start')
  expect(staged.candidates.map((one) => one.plugin.manifest.version)).toEqual(['2.0.0'])
  staged.commit()
  expect([shown(provider), provider.status().pid !== pid, provider.status().kept?.pid !== again]).toEqual([
    ['2.0.0', '1.0.0'],
    true,
    true,
  ])
  await waitFor('those of before to be gone', () => !isAlive(pid) && !isAlive(again))
})

it('says nothing of its version when it cannot start: it has had its turn', async () => {
  const knobs = { create: 'exit', only: '1.0.0' }
  await at('1.0.0', knobs)
  const two = await at('2.0.0', knobs)
  const found = await discoverPrevious(two.config.pluginsFile, 'fix', { shown: 'plugins.json', stores: [join(data, 'plugins')] })
  room = startPlugins({ ...two, ...deps, kept: [{ provider: 'p', version: '1.0.0', found }] })
  const unfit: string[] = []
  room.onUnfit((_, reason) => unfit.push(reason))
  const provider = room.provider('p')
  // Six starts that failed: one more than make a version unfit.
  await waitFor('it to be started again and again', () => (provider.status().kept?.restarts ?? 0) > 5)
  expect([unfit, provider.status()]).toMatchObject([[], { state: 'ready', kept: { version: '1.0.0' } }])
})

it('one that has fallen when the other takes over is not said to be well', async () => {
  room = startPlugins({ ...(await at('1.0.0', { create: 'exit' })), ...deps })
  const provider = room.provider('p')
  await waitFor('it to have fallen', () => provider.status().state === 'degraded')
  await switched()
  expect(provider.status()).toMatchObject({ plugin: { version: '2.0.0' }, kept: { version: '1.0.0' } })
  expect(['starting', 'degraded']).toContain(provider.status().kept?.state)
})

it('a host that starts has it again by the lock, and says why where it has not', async () => {
  await at('1.0.0')
  const two = await at('2.0.0')
  await writeFile(gate(), '')
  const options = { shown: 'plugins.json' }
  const found = await discoverPrevious(two.config.pluginsFile, 'fix', { ...options, stores: [join(data, 'plugins')] })
  room = startPlugins({ ...two, ...deps, kept: [{ provider: 'p', version: '1.0.0', found }] })
  room.ownedBy(() => '1.0.0')
  const provider = room.provider('p')
  await waitFor('both to be ready', () => provider.status().state === 'ready' && provider.status().kept?.state === 'ready')
  expect(await launch(provider)).toMatchObject({ handle: { v: 1 } })
  for (const root of room.roots()) await access(root)
  expect(room.roots()).toHaveLength(2)
  await room.stop()

  const refused = { reason: 'the lock no longer holds it', hint: 'lock it again' }
  room = startPlugins({ ...two, ...deps, kept: [{ provider: 'p', version: '1.0.0', found: { refused } }] })
  const without = room.provider('p')
  room.ownedBy(() => '1.0.0')
  await waitFor('the other to be ready', () => without.status().state === 'ready')
  expect(without.status().kept).toMatchObject({ state: 'failed', ...refused })
  await expect(launch(without)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  const { next = '' } = await without.list({ limit: 1 })
  expect(await without.list({ limit: 1, cursor: next })).toMatchObject({ workers: [], unseen: '1.0.0' })
})

it('is told of where its provider is looked for, and is what is found for its workers alone', async () => {
  const refused = { reason: 'the lock no longer holds it', hint: 'lock it again' }
  room = startPlugins({ ...(await at('2.0.0')), ...deps, kept: [{ provider: 'p', version: '1.0.0', found: { refused } }] })
  room.ownedBy((worker) => (worker === launchSpec.id ? '1.0.0' : '2.0.0'))
  const kept = { version: '1.0.0', state: 'failed', ...refused }
  expect(room.find('p')?.status()).toMatchObject({ state: 'starting', kept })
  expect(room.find('p', launchSpec.id)?.status()).toMatchObject({ state: 'failed', ...refused })
  expect(room.find('p', 'another')?.status()).toMatchObject({ state: 'starting' })
})

it('a version that is kept instead of another gets no process of that one', async () => {
  const provider = await begin()
  await writeFile(gate(), '')
  await switched()
  const { pid } = provider.status()
  // The one that is kept by now would be started anew for its other configuration.
  const next = await at('3.0.0', { starts: join(data, 'starts') })
  const staged = await room.stage(next, next.at)
  if ('problems' in staged) throw new Error('it should start')
  staged.commit(new Set(['p']))
  room.ownedBy(() => '2.0.0')
  await launch(provider)
  expect([shown(provider), provider.status().kept?.pid]).toEqual([['3.0.0', '2.0.0'], pid])
})

it('has the network that it asks for itself, whatever the other one does', async () => {
  const network = { noProxy: ['example.org'] }
  const versions = async (version: string): ReturnType<typeof at> => {
    const { config, ...rest } = await configureVersion(data, { mirror: wider, version, knobs: { gate: gate() } })
    return { config: { ...config, network }, ...rest }
  }
  const wider = join(data, 'mirror')
  const permissions = { ...fixtureManifest.permissions, net: ['example.org'] }
  await mirrorFixture(wider, [{ version: '1.0.0', manifest: { permissions } }, '2.0.0'])
  room = startPlugins({ ...(await versions('1.0.0')), ...deps })
  const provider = room.provider('p')
  await waitFor('it to be ready', () => provider.status().state === 'ready')
  const { pid } = provider.status()
  for (const keep of [['p'], []]) {
    const next = await versions('2.0.0')
    const staged = await room.stage(next, next.at)
    if ('problems' in staged) throw new Error('it should start')
    staged.commit(new Set(keep))
    expect([shown(provider), provider.status().kept?.pid]).toEqual([['2.0.0', '1.0.0'], pid])
  }
})

it('the version before is opened by the lock alone, to the byte', async () => {
  room = startPlugins({ ...(await at('1.0.0')), ...deps })
  const file = join(data, 'plugins.json')
  const store = join(data, 'plugins')
  const previous = (): ReturnType<typeof discoverPrevious> =>
    discoverPrevious(file, 'fix', { stores: [store], shown: 'plugins.json' })
  expect(await previous()).toMatchObject({ refused: { reason: expect.stringContaining('no version before') as string } })
  for (const version of ['2.0.0', '3.0.0'])
    await lockVersion({ file, alias: 'fix', package: fixtureManifest.name, version, mirror, store })
  expect(await previous()).toMatchObject({ plugin: { manifest: { version: '2.0.0' }, tree: expect.any(String) as string } })
  await rm(store, { recursive: true })
  await rm(mirror, { recursive: true })
  expect(await previous()).toMatchObject({ refused: { reason: expect.any(String) as string } })
})
