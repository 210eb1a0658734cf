/** What a plugin that did not ask for it cannot do, and can once it asked. */
import { rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginPermissions } from '@muster/core'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startPlugins } from './room.ts'
import { configureFixture, launchSpec } from './testing/configure.ts'
import { lockFixture } from './testing/locked.ts'

const nothing: PluginPermissions = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }
const refused = 'ERR_ACCESS_DENIED'
/** Of a plugin that asks for nothing. */
const confined = {
  ...{ read: refused, write: refused, link: refused, spawn: refused, thread: refused, inspector: refused },
  ...{ tcp: refused, unix: refused, listen: refused, names: refused },
  sqlite: 'ERR_UNKNOWN_BUILTIN_MODULE',
  addon: 'ERR_DLOPEN_DISABLED',
  own: 'done',
}

/** Nothing would be left to enforce. */
const plain = Object.fromEntries(
  Object.keys(confined).map((key) => [key, key === 'addon' ? 'ERR_DLOPEN_FAILED' : 'done']),
) as typeof confined

let folder: TempFolder
let stop: (() => Promise<unknown>) | undefined
beforeEach(async () => {
  folder = await tempFolder('confine')
})
afterEach(async () => {
  await stop?.()
  await folder.remove()
  await rm('/tmp/muster-confined', { force: true })
})

/** What a plugin with these permissions could do. */
async function reached(
  permissions: Partial<PluginPermissions>,
  { packed, data = folder.path }: { packed: boolean; data?: string },
): Promise<unknown> {
  const entry = await lockFixture(folder.path, { permissions: { ...nothing, ...permissions } })
  const site = { data, folder: join(folder.path, 'plugin'), providers: { p: { knobs: { launch: 'reach' } } } }
  const room = startPlugins({
    ...(await configureFixture(packed ? { ...site, entry } : site)),
    owner: 'me',
    fence: { epoch: () => 3, mayAct: () => true },
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
  })
  stop = () => room.stop()
  const provider = room.provider('p')
  await waitFor('the first start', async () => provider.status().state !== 'starting', { timeoutMs: 60_000 })
  expect(provider.status()).toMatchObject({ state: 'ready' })
  const { handle } = await provider.launch(launchSpec, { idempotencyKey: 'x' })
  return handle.data
}

test('a plugin that asks for nothing has its own folder and its own files, and no more', async () => {
  expect(await reached({}, { packed: true })).toEqual(confined)
})

test('it has them too where the way to the data folder is a link', async () => {
  const data = join(folder.path, 'linked')
  await symlink(folder.path, data)
  expect(await reached({}, { packed: true, data })).toEqual(confined)
})

test('one under development reads any file, and no more', async () => {
  expect(await reached({}, { packed: false })).toEqual({ ...confined, read: 'done' })
})

test.each<[string, Partial<PluginPermissions>, Partial<typeof confined>]>([
  ['a folder to read', { fsRead: ['/etc'] }, { read: 'done' }],
  ['another folder to read', { fsRead: ['/usr'] }, {}],
  ['a folder to write', { fsWrite: ['/tmp'] }, { write: 'done' }],
  ['all files', { fsRead: ['/'], fsWrite: ['/'] }, { read: 'done', write: 'done', link: 'done' }],
  ['child processes', { childProcess: true }, { spawn: 'done' }],
  ['all files and child processes', { fsWrite: ['/'], childProcess: true }, plain],
  ['a host', { net: ['api.acme.test:443'] }, { tcp: 'done', unix: 'done', listen: 'done', names: 'done' }],
  ['a socket', { unix: ['/run/x.sock'] }, { tcp: 'done', unix: 'done', listen: 'done', names: 'done' }],
])('one that asks for %s has that', async (_name, permissions, more) => {
  expect(await reached(permissions, { packed: true })).toEqual({ ...confined, ...more })
})
