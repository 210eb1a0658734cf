/** Another set of providers takes over while calls are open. */
import { existsSync } from 'node:fs'
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LaunchSpec } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Staged, startPlugins, type StartedRoom } from './room.ts'
import { configureFixture, type FixtureSite } from './testing/configure.ts'
import { fixtureManifest, packFixture } from './testing/package.ts'

let data: string
let room: StartedRoom
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-swap-'))
  await packFixture(join(data, 'plugin'))
})
afterEach(async () => {
  await room.stop()
  await rm(data, { recursive: true, force: true })
})

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const site = (providers: FixtureSite['providers'], host?: string): ReturnType<typeof configureFixture> =>
  configureFixture({ data, folder: join(data, 'plugin'), providers, ...(host === undefined ? {} : { host }) })

async function open(knobs: object, host?: string): Promise<void> {
  const deps = await site({ p: { knobs } }, host)
  room = startPlugins({ ...deps, owner: 'me', fence: { epoch: () => 1, mayAct: () => true }, log: silent })
  await isReady('p')
}

const isReady = (name: string): Promise<unknown> =>
  waitFor(`${name} to be ready`, async () => room.find(name)?.status().state === 'ready')

async function stage(providers: FixtureSite['providers'], host?: string): Promise<Staged> {
  const next = await site(providers, host)
  const staged = await room.stage(next, next.at)
  if ('problems' in staged) throw new Error(staged.problems.map((one) => one.reason).join())
  return staged
}

const pid = (name = 'p'): number => room.provider(name).status().pid ?? 0
const gone = (one: number): Promise<unknown> =>
  waitFor(`process ${one} to be gone`, async () => {
    try {
      process.kill(one, 0)
      return false
    } catch {
      return true
    }
  })

const id = `w${'1'.repeat(26)}`
const spec: LaunchSpec = {
  id,
  tags: { 'muster-owner': 'me', 'muster-provider': 'p', 'muster-pool': 'a', 'muster-worker': id, 'muster-epoch': '1' },
  work: { mode: 'command', command: ['true'] },
}

it('another configuration is another process, and a call that is open ends on the old one', async () => {
  const gate = join(data, 'gate')
  await open({ gate })
  const provider = room.provider('p')
  const before = pid()
  const call = provider.launch(spec, { idempotencyKey: 'k' })
  await waitFor('the call to be open', async () => provider.status().inFlight > 0)
  const states: string[] = []
  room.onChange(({ state }) => states.push(state))
  const staged = await stage({ p: { knobs: { launch: 'env' } } })
  expect([provider.status().pid, states]).toEqual([before, []])
  staged.commit()
  // In the same turn: nobody is told that there is no process.
  expect(await provider.launch(spec, { idempotencyKey: 'k' })).toMatchObject({ handle: { v: 1 } })
  const after = pid()
  expect(after).not.toBe(before)
  process.kill(before, 0)
  await writeFile(gate, '')
  expect(await call).toMatchObject({ handle: { v: 1 } })
  await gone(before)
  expect(provider.status()).toMatchObject({ state: 'ready', restarts: 0, pid: after })
  expect(new Set(states)).toEqual(new Set(['ready']))
})

it('what is as it was keeps its process; what is new gets one', async () => {
  await open({})
  const before = pid()
  const staged = await stage({ p: { knobs: {} }, q: { knobs: {} } })
  staged.commit()
  await isReady('q')
  expect(pid()).toBe(before)
  expect(room.list().map((one) => one.name)).toEqual(['p', 'q'])
})

it('other files of the plugin are another plugin', async () => {
  await open({})
  const before = pid()
  await appendFile(join(data, 'plugin/plugin.mjs'), '\n// built again\n')
  const staged = await stage({ p: { knobs: {} } })
  staged.commit()
  await gone(before)
  expect(room.provider('p').status().state).toBe('ready')
})

it.each([
  ['cannot start', { create: 'exit' }, /the plugin of 'q' cannot start: configure: it ended by itself \(exit 7\)/],
  ['refuses its configuration', { create: 'refuse' }, /the zone does not exist/],
  ['is not usable', { probes: ['failed'] }, /provider 'q' is not usable: the engine is down/],
])('one that %s refuses all of them, and none of their processes stays', async (_, knobs, reason) => {
  await open({})
  const before = pid()
  const starts = join(data, 'starts')
  const next = await site({ p: { knobs: { starts } }, q: { knobs } })
  const staged = await room.stage(next, next.at)
  expect(staged).toMatchObject({ problems: [{ line: 4, reason: expect.stringMatching(reason) as string }] })
  for (const started of (await readFile(starts, 'utf8')).trim().split('\n')) await gone(Number(started))
  expect([pid(), room.list().length, room.leaving()]).toEqual([before, 1, []])
  expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
})

it('another way to the vendor is another process of a plugin that uses one, and nothing to one that asks for loopback alone', async () => {
  for (const [net, swaps] of [
    [['*'], true],
    [[], false],
  ] as const) {
    const manifest = { ...fixtureManifest, permissions: { ...fixtureManifest.permissions, net: [...net] } }
    await packFixture(join(data, 'plugin'), { manifest })
    await open({}, 'network: { noProxy: [a.example] }')
    const before = pid()
    const staged = await stage({ p: { knobs: {} } }, 'network: { noProxy: [b.example] }')
    staged.commit()
    expect([net, pid() !== before]).toEqual([net, swaps])
    if (swaps) await gone(before)
    await room.stop()
  }
})

it('what is discarded leaves no process and no change', async () => {
  await open({})
  const before = pid()
  const starts = join(data, 'starts')
  const staged = await stage({ p: { knobs: { starts } } })
  await staged.discard()
  await gone(Number(await readFile(starts, 'utf8')))
  expect(pid()).toBe(before)
})

it('what is staged of one plugin alone is that, and says what it knows before it takes over', async () => {
  await open({})
  const next = await site({ p: { knobs: { starts: join(data, 'starts') } } })
  const candidates: (string | undefined)[][] = []
  for (const only of ['another', 'fix']) {
    const staged = await room.stage({ ...next, only }, next.at)
    if ('problems' in staged) throw new Error('it should start')
    candidates.push(staged.candidates.map((one) => one.provider))
    for (const { ask } of staged.candidates) expect(await ask.list({ limit: 1 })).toMatchObject({ workers: [] })
    await staged.discard()
  }
  expect(candidates).toEqual([[], ['p']])
})

it('what is named no longer runs until it is dropped, and may come back before that', async () => {
  await open({})
  const before = pid()
  const other = await stage({ q: { knobs: {} } })
  other.commit()
  await isReady('q')
  expect(room.leaving()).toEqual(['p'])
  expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
  const back = await stage({ p: { knobs: {} }, q: { knobs: {} } })
  back.commit()
  expect([room.leaving(), pid()]).toEqual([[], before])
  await room.drop('p')
  process.kill(before, 0)
  const again = await stage({ q: { knobs: {} } })
  again.commit()
  const own = (name: string): boolean => existsSync(join(data, 'providers', name))
  expect([own('p'), own('q')]).toEqual([true, true])
  await room.drop('p')
  await gone(before)
  expect(room.find('p')).toBeUndefined()
  expect([own('p'), own('q')]).toEqual([false, true])
})

it('what comes back in the moment in which its last worker goes is there', async () => {
  await open({})
  const before = pid()
  const other = await stage({ q: { knobs: {} } })
  other.commit()
  const back = await stage({ p: { knobs: {} }, q: { knobs: {} } })
  await room.drop('p')
  await gone(before)
  expect(existsSync(join(data, 'providers', 'p'))).toBe(true)
  back.commit()
  await isReady('p')
  expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
})

it('one that is still starting when another takes over is not wanted any more', async () => {
  const [gate, starts] = [join(data, 'gate'), join(data, 'starts')]
  const deps = await site({ p: { knobs: { create: 'wait', gate, starts } } })
  room = startPlugins({ ...deps, owner: 'me', fence: { epoch: () => 1, mayAct: () => true }, log: silent })
  // The file is there before its content.
  const slow = Number(await waitFor('it to begin', () => readFile(starts, 'utf8')))
  const staged = await stage({ p: { knobs: {} } })
  staged.commit()
  await writeFile(gate, '')
  await gone(slow)
  await isReady('p')
  expect(pid()).not.toBe(slow)
})

it('one that was given up for its configuration is well with another', async () => {
  const deps = await site({ p: { knobs: { create: 'refuse' } } })
  room = startPlugins({ ...deps, owner: 'me', fence: { epoch: () => 1, mayAct: () => true }, log: silent })
  await waitFor('it to be given up', async () => room.provider('p').status().state === 'failed')
  const staged = await stage({ p: { knobs: {} } })
  staged.commit()
  expect(room.provider('p').status()).toMatchObject({ state: 'ready' })
  expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
})

it('one that was given up is tried again with the next configuration, which it cannot hold up', async () => {
  const gate = join(data, 'mended')
  const starts = join(data, 'starts')
  const p = { knobs: { create: 'refuse', gate, starts } }
  const deps = await site({ p })
  room = startPlugins({ ...deps, owner: 'me', fence: { epoch: () => 1, mayAct: () => true }, log: silent })
  await waitFor('it to be given up', async () => room.provider('p').status().state === 'failed')
  const other = await stage({ p, q: { knobs: {} } })
  expect(other.revived).toEqual([])
  other.commit()
  await isReady('q')
  expect(room.provider('p').status().state).toBe('failed')
  // At the start, and for the other configuration: it waits for the next one.
  expect((await readFile(starts, 'utf8')).trim().split('\n')).toHaveLength(2)
  await writeFile(gate, '')
  const staged = await stage({ p, q: { knobs: {} } })
  expect(staged.revived).toEqual(['p'])
  staged.commit()
  expect(room.provider('p').status().state).toBe('ready')
  expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
})

it('one whose breaker is open is asked again at once with another configuration', async () => {
  await open({ launch: 'throw' })
  const launch = (): Promise<unknown> => room.provider('p').launch(spec, { idempotencyKey: 'k' })
  while (room.provider('p').status().breaker !== 'open') await launch().catch(() => undefined)
  const staged = await stage({ p: { knobs: {} } })
  staged.commit()
  expect(await launch()).toMatchObject({ handle: { v: 1 } })
  expect(room.provider('p').status().breaker).toBe('closed')
})

it('swapped again and again, also while it falls, it leaves one process', async () => {
  await open({})
  const pids = new Set([pid()])
  for (let round = 0; round < 4; round++) {
    const staged = await stage({ p: { knobs: { starts: join(data, `starts-${round}`) } } })
    process.kill(pid(), 'SIGKILL')
    staged.commit()
    pids.add(pid())
    expect(await room.provider('p').list({ limit: 1 })).toMatchObject({ workers: [] })
  }
  expect(pids.size).toBe(5)
  const last = pid()
  for (const one of pids) if (one !== last) await gone(one)
  expect(room.provider('p').status()).toMatchObject({ state: 'ready', pid: last })
})
