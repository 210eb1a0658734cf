/** What a plugin that takes more than it may comes to; and what it takes where nobody looks. */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginPermissions } from '@muster/core'
import { requireSystem, root } from '@muster/test/require'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { GuardedProvider, ProviderStatus } from './api.ts'
import { cagesAreHere, placesOf } from './cage.ts'
import { openGround, type UserRange } from './ground.ts'
import { watchMemory } from './memory.ts'
import { type StartedRoom, startPlugins } from './room.ts'
import { configureFixture, launchSpec, quietHost } from './testing/configure.ts'
import { lockFixture } from './testing/locked.ts'

const nothing: PluginPermissions = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }
/** No other process of this machine has these. */
const users: UserRange = { from: 1_200_000_000 + process.pid * 10, to: 1_200_000_009 + process.pid * 10 }
const limits = { startMs: 20_000, retireMs: 2000, heapMb: 32, inFlight: 8 }

let folder: TempFolder
let data: string
let room: StartedRoom | undefined
beforeEach(async () => {
  folder = await tempFolder('memory')
  data = join(folder.path, 'data')
  await chmod(folder.path, 0o711)
  await mkdir(data, { mode: 0o700 })
})
afterEach(async () => {
  await room?.stop()
  room = undefined
  await folder.remove()
})

interface Wanted {
  level: 'L2' | 'L3'
  permissions?: Partial<PluginPermissions>
}

async function start(launch: string, { level, permissions = {} }: Wanted): Promise<GuardedProvider> {
  const entry = await lockFixture(data, { limits, permissions: { ...nothing, ...permissions } })
  const ground = level === 'L3' ? { ground: await openGround({ data, users }) } : {}
  const site = { data, folder: '', providers: { p: { knobs: { launch } } }, entry, ...ground }
  const configured = await configureFixture({ ...site, host: `isolation: { users: ${JSON.stringify(users)} }` })
  expect(configured.discovery.plugins[0]?.isolation.level).toBe(level)
  room = startPlugins({ ...configured, ...quietHost })
  const provider = room.provider('p')
  await waitFor('the start', async () => provider.status().state === 'ready', { timeoutMs: 60_000 })
  return provider
}

/** What the provider says once the call has ended its plugin. */
async function fallen(launch: string, wanted: Wanted): Promise<ProviderStatus> {
  const provider = await start(launch, wanted)
  const said = Promise.withResolvers<ProviderStatus>()
  room?.onChange((status) => {
    if (status.state === 'degraded') said.resolve(status)
  })
  await expect(provider.launch(launchSpec, { idempotencyKey: 'x', timeoutMs: 60_000 })).rejects.toThrow()
  return said.promise
}

const needsCages = {
  name: 'cgroup',
  probe: async () => ((await cagesAreHere()) ? undefined : 'none may be made here'),
}

test('one that fills its heap falls, and it is said why', async () => {
  expect((await fallen('heap', { level: 'L2' })).reason).toBe('its heap is full: it may have 32 MiB (heapMb of its limits)')
})

test('one that fills the memory beside its heap is ended, and it is said why', async () => {
  const { reason } = await fallen('buffers', { level: 'L2' })
  expect(reason).toMatch(/^it took \d+ MiB of memory, and may have 192 /)
  // Long before all of it.
  expect(Number(/\d+/.exec(reason ?? '')?.[0])).toBeLessThan(900)
})

test('where nobody looks it has all of it, whatever its heap may have', async () => {
  const all = Buffer.alloc(2 ** 28, 1)
  const found = Promise.withResolvers<number>()
  const stop = watchMemory(process.pid, { limitMb: 200, over: found.resolve })
  expect(await found.promise).toBeGreaterThan(all.length / 2 ** 20)
  stop()
})

test('a group holds it where nobody looks in time', async (context) => {
  await requireSystem(context, root)
  await requireSystem(context, needsCages)
  const provider = await start('buffers', { level: 'L3' })
  const { pid } = provider.status()
  const own = await readFile(`/proc/${pid}/cgroup`, 'utf8')
  const [name = ''] = /muster-plugin-[\d-]+/.exec(own) ?? []
  const places = placesOf(await readFile('/proc/self/mountinfo', 'utf8'), await readFile('/proc/self/cgroup', 'utf8'))
  const found = places.map((place) => join(place.folder, name)).filter(existsSync)
  const values = await Promise.all(
    found.map(async (cage) => {
      const files = (await readdir(cage)).filter((file) => ['memory.limit_in_bytes', 'memory.max', 'pids.max'].includes(file))
      return Promise.all(files.map((file) => readFile(join(cage, file), 'utf8')))
    }),
  )
  expect(
    values
      .flat()
      .map(Number)
      .toSorted((one, other) => one - other),
  ).toEqual([64, 192 * 2 ** 20])
  await room?.stop()
  expect(found.filter(existsSync)).toEqual([])
})

test('one that forks without end is stopped by its group, and its children go with it', async (context) => {
  await requireSystem(context, root)
  await requireSystem(context, needsCages)
  const held = await start('fork', { level: 'L3', permissions: { childProcess: true } })
  expect((await held.launch(launchSpec, { idempotencyKey: 'x', timeoutMs: 60_000 })).handle.data).not.toBe(0)
  await room?.stop()
  const free = await start('fork', { level: 'L2', permissions: { childProcess: true } })
  expect((await free.launch(launchSpec, { idempotencyKey: 'x', timeoutMs: 60_000 })).handle.data).toBe(0)
})
