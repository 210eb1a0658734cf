import type { PluginPermissions } from '@muster/core'
import { tempFolder } from '@muster/test/systems/temp'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { defaultUsers, type Ground, openGround } from './ground.ts'
import { demandLevel, isolationOf, type IsolationLevel } from './isolation.ts'
import type { PluginEntry, PluginSource } from './registry.ts'

const nothing: PluginPermissions = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }
const everything = { fsWrite: ['/'], childProcess: true }
const rich: Ground = {}
const poor: Ground = { lacks: { fact: 'the host does not run as root', mend: 'start the host as root' } }
const locked: PluginSource = { registry: 'default' }
const entryOf = (over: Partial<PluginEntry> = {}): PluginEntry => ({
  alias: 'a',
  package: 'a',
  version: '1.0.0',
  source: locked,
  ...over,
})

test.each<[string, Partial<PluginPermissions>, object]>([
  ['nothing', {}, { level: 'L3', advisory: [] }],
  ['the network', { net: ['*'] }, { level: 'L3', advisory: [expect.stringContaining('which hosts')] }],
  ['child processes', { childProcess: true }, { level: 'L3', advisory: [expect.stringContaining('for its child processes')] }],
  ['files to read', { fsRead: ['/etc'] }, { level: 'L2', because: { fact: expect.stringContaining('might not be allowed') } }],
  ['files to write', { fsWrite: ['/'] }, { level: 'L2', because: { mend: expect.stringContaining('"isolation": "L3"') } }],
  ['a socket', { unix: ['/run/x.sock'] }, { level: 'L2', advisory: [expect.stringContaining('sockets')] }],
  ['all files and child processes', everything, { level: 'L1', because: { fact: expect.stringContaining('child processes') } }],
])('a plugin that asks for %s', (_name, permissions, expected) => {
  expect(isolationOf({ ...nothing, ...permissions }, { entry: entryOf(), ground: rich })).toMatchObject(expected)
})

test('of what no Node runs, only the environment is kept', () => {
  expect(isolationOf(nothing, { entry: entryOf(), ground: rich, interpreter: 'python3' })).toMatchObject({
    level: 'L1',
    because: { fact: expect.stringContaining('python3') },
    enforced: ['names of the environment'],
  })
})

test('what is allowed is not said to be enforced', () => {
  const where = { entry: entryOf(), ground: poor }
  const { enforced } = isolationOf(nothing, where)
  expect(enforced).toEqual(expect.arrayContaining(['no network', 'no child processes', 'files that it reads and writes']))
  const open = isolationOf({ ...nothing, net: ['*'], childProcess: true }, where)
  expect(open.enforced.filter((one) => one.startsWith('no '))).toEqual(['no worker threads, addons, inspector and node:sqlite'])
  expect(isolationOf({ ...nothing, ...everything }, where).enforced).toEqual(['names of the environment', 'size of its heap'])
  const developed = isolationOf(nothing, { entry: entryOf({ source: { folder: '.' } }), ground: rich })
  expect(developed).toMatchObject({ level: 'L2', because: { mend: 'pack it, and name the tarball' } })
  expect(developed.enforced).toContain('files that it writes')
})

const demands: [IsolationLevel | undefined, Partial<PluginPermissions>, Ground][] = [
  [undefined, everything, poor],
  ['L1', everything, poor],
  ['L1', {}, poor],
  ['L2', {}, poor],
  ['L3', {}, rich],
  // Whoever demands it knows that its user may open them.
  ['L3', { fsRead: ['/etc'], unix: ['/run/x.sock'] }, rich],
]

test.each(demands)('%s demanded of a plugin with %j on %j is there', (isolation, permissions, ground) => {
  const entry = entryOf(isolation === undefined ? {} : { isolation })
  expect(demandLevel(entry, isolationOf({ ...nothing, ...permissions }, { entry, ground }))).toBeUndefined()
})

const tooMuch: [IsolationLevel, Partial<PluginPermissions>, Ground][] = [
  ['L2', everything, rich],
  ['L3', everything, rich],
  ['L3', {}, poor],
]

test.each(tooMuch)('%s demanded of a plugin with %j on %j is not there', (isolation, permissions, ground) => {
  const entry = entryOf({ isolation })
  const found = isolationOf({ ...nothing, ...permissions }, { entry, ground })
  expect(() => demandLevel(entry, found)).toThrow(expect.objectContaining({ code: 'below-level' }))
})

test('a machine says what keeps plugins from users of their own', async () => {
  await using temp = await tempFolder('ground')
  const data = join(temp.path, 'closed/data')
  await mkdir(join(temp.path, 'closed'))
  await chmod(temp.path, 0o711)
  await chmod(join(temp.path, 'closed'), 0o700)
  expect(await openGround({ data, users: 'off', root: true })).toMatchObject({ lacks: { fact: 'host.isolation.users is off' } })
  expect(await openGround({ data, users: defaultUsers, root: false })).toMatchObject({
    lacks: { mend: 'start the host as root' },
  })
  expect(await openGround({ data, users: defaultUsers, root: true })).toMatchObject({
    lacks: { mend: expect.stringMatching(/install util-linux|chmod o\+x \/.*, or write/) },
  })
})
