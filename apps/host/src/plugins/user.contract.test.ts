/** What a plugin with a user of its own cannot do, though Node would let it; and what the same plugin does without. */
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginPermissions } from '@muster/core'
import { requireSystem, root } from '@muster/test/require'
import { identityOf, isRunning, mustRun, startProcess, stopIdentity } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cagesAreHere, placesOf } from './cage.ts'
import { openGround, type UserRange } from './ground.ts'
import { checkPlugins, type PluginCheck } from './check.ts'
import { type Staged, type StartedRoom, startPlugins } from './room.ts'
import { configureFixture, type FixtureSite, launchSpec, quietHost } from './testing/configure.ts'
import { lockFixture } from './testing/locked.ts'

/** Node lets it read and write everything: whatever is refused, its user is refused. */
const permissions: PluginPermissions = { net: [], unix: [], fsRead: ['/'], fsWrite: ['/'], env: [], childProcess: false }
/** No other process of this machine has these. */
const users: UserRange = { from: 1_100_000_000 + process.pid * 10, to: 1_100_000_009 + process.pid * 10 }
const none = '0'.repeat(16)

let folder: TempFolder
let data: string
let room: StartedRoom | undefined
beforeEach(async (context) => {
  await requireSystem(context, root)
  folder = await tempFolder('user')
  data = join(folder.path, 'data')
  await chmod(folder.path, 0o711)
  await mkdir(data, { mode: 0o700 })
})
afterEach(async ({ task }) => {
  if (task.result?.state === 'skip') return
  await room?.stop()
  room = undefined
  await folder.remove()
})

async function start(providers: FixtureSite['providers'], isolation?: 'L3'): Promise<StartedRoom> {
  const entry = await lockFixture(data, { permissions }, isolation === undefined ? {} : { isolation })
  const host = `isolation: { users: ${JSON.stringify(users)} }`
  const ground = await openGround({ data, users })
  expect(ground.lacks).toBeUndefined()
  const configured = await configureFixture({ data, folder: '', providers, entry, host, ground })
  expect(configured.discovery.plugins[0]?.isolation.level).toBe(isolation ?? 'L2')
  room = startPlugins({ ...configured, ...quietHost })
  await room.settled()
  await waitFor('all of them', async () => room?.list().every((one) => one.status().state === 'ready'))
  return room
}

async function who(providers: FixtureSite['providers'], isolation?: 'L3'): Promise<unknown> {
  const { handle } = await (await start(providers, isolation)).provider('p').launch(launchSpec, { idempotencyKey: 'x' })
  return handle.data
}

/** What lies in a data folder, and in that of another provider. */
async function secrets(): Promise<string[]> {
  const files = [join(data, 'muster.db'), join(data, 'providers/q/mine')]
  await mkdir(join(data, 'providers/q'), { recursive: true, mode: 0o700 })
  for (const file of files) await writeFile(file, 'secret', { mode: 0o600 })
  return files
}

test('it is nobody else, and cannot become anybody else', async () => {
  const files = await secrets()
  const found = await who({ p: { knobs: { launch: 'who', files } }, q: { knobs: {} } }, 'L3')
  const { uid, gid } = await stat(join(data, 'providers/p'))
  expect(uid).toBeGreaterThanOrEqual(users.from)
  expect(uid).toBeLessThanOrEqual(users.to)
  expect(gid).toBe(users.from)
  expect((await stat(join(data, 'providers/q'))).uid).not.toBe(uid)
  const four = (id: number): string => Array.from({ length: 4 }, () => id).join('\t')
  expect(found).toEqual({
    status: {
      ...{ Uid: four(uid), Gid: four(gid), Groups: '', NoNewPrivs: '1' },
      ...{ CapEff: none, CapPrm: none, CapInh: none, CapBnd: none, CapAmb: none },
    },
    ...{ host: 'EPERM', own: 'done', up: 'EACCES' },
    files: Object.fromEntries(files.map((file) => [file, 'EACCES'])),
  })
  // Others do not even pass.
  expect((await stat(data)).mode & 0o777).toBe(0o710)
})

test('without a user of its own the same plugin reads them, and could end its host', async () => {
  const files = await secrets()
  expect(await who({ p: { knobs: { launch: 'who', files } }, q: { knobs: {} } })).toMatchObject({
    status: { Uid: '0\t0\t0\t0', NoNewPrivs: '0', CapEff: expect.not.stringMatching(none) },
    ...{ host: 'done', own: 'done', up: 'done' },
    files: Object.fromEntries(files.map((file) => [file, 'done'])),
  })
  expect((await stat(data)).mode & 0o777).toBe(0o700)
})

test('what it kept as the user of the host is its own, and its user stays the same', async () => {
  const own = join(data, 'providers/p')
  await mkdir(join(own, 'deep'), { recursive: true, mode: 0o700 })
  await writeFile(join(own, 'deep/mine'), '', { mode: 0o600 })
  const files = [join(own, 'deep/mine')]
  // Somebody else came first.
  await mkdir(join(data, 'providers/a'))
  await chown(join(data, 'providers/a'), users.from, users.from)
  const knobs = { p: { knobs: { launch: 'who', files } } }
  expect(await who(knobs, 'L3')).toMatchObject({ own: 'done', files: { [files[0] ?? '']: 'done' } })
  const { uid } = await stat(own)
  expect(uid).not.toBe(users.from)
  await room?.stop()
  expect(await who(knobs, 'L3')).toMatchObject({ own: 'done' })
  expect((await stat(own)).uid).toBe(uid)
  // What it keeps while it runs as the user of the host, as where nobody demands a level any more, is its own again.
  await room?.stop()
  await who(knobs)
  const later = join(own, 'deep/later')
  await writeFile(later, '', { mode: 0o600 })
  await room?.stop()
  const again = { p: { knobs: { launch: 'who', files: [later] } } }
  expect(await who(again, 'L3')).toMatchObject({ own: 'done', files: { [later]: 'done' } })
})

test('one that starts beside it as the user of the host takes its folder no earlier than it ends', async () => {
  const own = join(data, 'providers/p')
  const running = await start({ p: { knobs: { launch: 'who', files: [] } } }, 'L3')
  const { uid } = await stat(own)
  const staged = async (): Promise<Staged> => {
    const entry = await lockFixture(data, { permissions })
    const host = `isolation: { users: ${JSON.stringify(users)} }`
    const knobs = { p: { knobs: { launch: 'who', files: [] } } }
    const next = await configureFixture({
      data,
      folder: '',
      providers: knobs,
      entry,
      host,
      ground: await openGround({ data, users }),
    })
    const found = await running.stage(next, next.at)
    if ('problems' in found) throw new Error(JSON.stringify(found.problems))
    return found
  }
  await (await staged()).discard()
  expect((await stat(own)).uid).toBe(uid)
  const { handle } = await running.provider('p').launch(launchSpec, { idempotencyKey: 'x' })
  expect(handle.data).toMatchObject({ own: 'done' })
  const next = await staged()
  expect((await stat(own)).uid).toBe(uid)
  next.commit()
  await waitFor('the folder of the other', async () => (await stat(own)).uid === 0)
})

/** Control groups of the plugins of one host. */
async function cagesOf(host: number): Promise<string[]> {
  const [mounts = '', own = ''] = await Promise.all(
    ['/proc/self/mountinfo', '/proc/self/cgroup'].map((file) => readFile(file, 'utf8')),
  )
  const names = await Promise.all(placesOf(mounts, own).map(({ folder: place }) => readdir(place)))
  return names.flat().filter((name) => new RegExp(`^muster-plugin-\\d+-${host}-`).test(name))
}

test('a check starts it so before there is a data folder, and leaves none', async () => {
  const { checked, none } = await checkedWithout(data)
  expect(checked).toEqual({ problems: [], notes: [{ provider: 'p', text: 'a note' }] })
  expect(existsSync(none)).toBe(false)
})

/** Of a deployment whose data folder is not there yet; its store is one that others pass. */
async function checkedWithout(store: string): Promise<{ checked: PluginCheck; none: string }> {
  const entry = await lockFixture(store, { permissions }, { isolation: 'L3' })
  const ground = await openGround({ data: store, users })
  const site = { data: store, folder: '', providers: { p: { knobs: {} } }, entry, ground }
  const { config, discovery, at } = await configureFixture({ ...site, host: `isolation: { users: ${JSON.stringify(users)} }` })
  await chmod(store, 0o711)
  const none = join(store, 'none')
  return { checked: await checkPlugins({ config: { ...config, data: none }, discovery, at }), none }
}

test('it ends with its host, though it hears of nothing', async () => {
  const entry = await lockFixture(data, { permissions }, { isolation: 'L3' })
  const script = `
    import { spawn } from 'node:child_process'
    import { waitFor } from '@muster/test/systems/wait'
    import { openGround } from ${JSON.stringify(join(import.meta.dirname, 'ground.ts'))}
    import { startPlugins } from ${JSON.stringify(join(import.meta.dirname, 'room.ts'))}
    import { configureFixture, launchSpec } from ${JSON.stringify(join(import.meta.dirname, 'testing/configure.ts'))}
    const { data, entry, users } = JSON.parse(process.argv[1])
    const host = 'isolation: { users: ' + JSON.stringify(users) + ' }'
    const providers = { p: { knobs: { launch: 'spin' } } }
    const plain = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' })
    const told = (line) => line === 'it spins' && console.log(JSON.stringify([room.provider('p').status().pid, plain.pid]))
    const log = { debug: (_, line) => told(line), info() {}, warn() {}, error() {} }
    const found = await configureFixture({ data, folder: '', providers, entry, host, ground: await openGround({ data, users }) })
    const room = startPlugins({ ...found, owner: 'me', fence: { epoch: () => 3, mayAct: () => true }, log })
    await room.settled()
    await waitFor('the plugin', async () => room.provider('p').status().state === 'ready')
    room.provider('p').launch(launchSpec, { idempotencyKey: 'x' }).catch(() => undefined)`
  const host = await startProcess([
    process.execPath,
    ...['--conditions=@muster/source', '--input-type=module', '-e', script],
    JSON.stringify({ data, entry, users }),
  ])
  try {
    await waitFor('both to run', async () => host.stdout().includes(']') || !host.running(), { timeoutMs: 60_000 })
    const [plugin, plain] = await Promise.all((JSON.parse(host.stdout()) as number[]).map(identityOf))
    if (plugin === undefined || plain === undefined) throw new Error(host.stderr())
    try {
      expect((await stat(`/proc/${plugin.pid}`)).uid).toBeGreaterThan(users.from - 1)
      expect((await cagesOf(host.pid)).length > 0).toBe(await cagesAreHere())
      host.kill('SIGKILL')
      await host.exited
      await waitFor('the plugin to be gone', async () => !(await isRunning(plugin)))
      // One that nobody binds to its host goes on.
      expect(await isRunning(plain)).toBe(true)
      // What it was in is removed by the next host.
      const next = `await (await import(${JSON.stringify(join(import.meta.dirname, 'cage.ts'))})).cagesAreHere()`
      await mustRun([process.execPath, '--conditions=@muster/source', '--input-type=module', '-e', next])
      expect(await cagesOf(host.pid)).toEqual([])
    } finally {
      for (const one of [plugin, plain]) await stopIdentity(one, 0)
    }
  } finally {
    await host.stop()
  }
})
