import type { PluginPermissions } from '@muster/core'
import { expect, test } from 'vitest'
import type { Ground } from './ground.ts'
import { demandLevel, dependsOnGround, type Isolation, isolationOf, levelName, reasonOf } from './isolation.ts'
import type { IsolationLevel, PluginEntry, PluginSource } from './registry.ts'

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

const shared: Ground = { lacksNetwork: { fact: 'the kernel says no', mend: 'ask it' } }

test('of what no Node runs, the kernel holds what it can, and else nothing is held', () => {
  const by = { entry: entryOf(), interpreter: 'python3' }
  const held = isolationOf(nothing, { ...by, ground: { cages: true } })
  expect(held).toMatchObject({
    ...{ level: 'L3', ownUser: true, ownNetwork: true },
    advisory: [expect.stringContaining('files'), 'size of its heap', expect.stringContaining('lie as files')],
  })
  expect(held.enforced).toEqual(
    expect.arrayContaining([expect.stringMatching('other users'), expect.stringMatching('number of')]),
  )
  expect(held.enforced.join()).not.toMatch(/worker threads/)
  expect(isolationOf(nothing, { ...by, ground: poor })).toMatchObject({
    ...{ level: 'L1', ownUser: false, ownNetwork: false },
    because: { fact: expect.stringMatching(/python3 .*, and the host does not run as root/), mend: 'start the host as root' },
    enforced: [expect.stringContaining('environment'), 'number of open files'],
  })
})

test.each<[string[], Ground, Partial<Isolation>]>([
  [[], rich, { level: 'L3', ownNetwork: true }],
  [[], shared, { level: 'L2', ownNetwork: false }],
  [['api.acme.test:443'], rich, { level: 'L3', ownNetwork: false }],
  [['*'], shared, { level: 'L3', ownNetwork: false }],
])('in another language a plugin that asks for the hosts %j, on %j, has a network of its own or not', (net, ground, expected) => {
  const found = isolationOf({ ...nothing, net }, { entry: entryOf(), interpreter: 'python3', ground })
  expect(found).toMatchObject({ ...expected, ownUser: true })
  expect(found.enforced.includes('no network, not even loopback')).toBe(found.ownNetwork)
  const told = found.advisory.filter((one) => /^network, whether|^which hosts/.test(one))
  expect(told).toHaveLength(found.ownNetwork ? 0 : 1)
})

test('in another language sockets that are files need no network, and a user that may open them', () => {
  const where = { interpreter: 'python3', ground: rich }
  const asks = { ...nothing, unix: ['/run/x.sock'] }
  expect(isolationOf(asks, { ...where, entry: entryOf() })).toMatchObject({ level: 'L1', ownUser: false })
  const vouched = isolationOf(asks, { ...where, entry: entryOf({ isolation: 'L2' }) })
  expect(vouched).toMatchObject({ level: 'L3', ownUser: true, ownNetwork: true })
})

test('a level is told by what it is for whoever runs the plugin', () => {
  const level = (ground: Ground, interpreter?: string): string =>
    levelName(isolationOf(nothing, { entry: entryOf(), ground, interpreter }), interpreter)
  expect([level(rich), level(poor)]).toEqual([
    expect.stringMatching(/user of its own, .*enforced by Node/),
    expect.stringMatching(/host’s user, .*enforced by Node/),
  ])
  expect([level(rich, 'python3'), level(shared, 'python3'), level(poor, 'python3')]).toEqual([
    expect.stringMatching(/user of its own, .*without a network/),
    expect.stringMatching(/user of its own, .*in the network of the host/),
    expect.stringMatching(/plain process/),
  ])
})

test('what is allowed is not said to be enforced', () => {
  const where = { entry: entryOf(), ground: poor }
  const { enforced } = isolationOf(nothing, where)
  expect(enforced).toEqual(
    expect.arrayContaining(['no network', 'no child processes', 'files that it reads and writes', 'number of open files']),
  )
  const open = isolationOf({ ...nothing, net: ['*'], childProcess: true }, where)
  expect(open.enforced.filter((one) => one.startsWith('no '))).toEqual(['no worker threads, addons, inspector and node:sqlite'])
  expect(open.enforced).not.toContain('number of open files')
  expect(isolationOf({ ...nothing, ...everything }, where).enforced).toEqual([
    expect.stringContaining('environment'),
    'size of its heap',
  ])
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

test('why it has no more is one line, with what mends that where something does', () => {
  const by = { enforced: [], advisory: [], ownUser: false, ownNetwork: false }
  expect(reasonOf({ level: 'L3', ...by })).toBeUndefined()
  expect(reasonOf({ level: 'L1', because: { fact: 'f' }, ...by })).toBe('f')
  expect(reasonOf({ level: 'L2', because: { fact: 'f', mend: 'm' }, ...by })).toBe('f; m')
})

test('a level that is not there says what mends that, and what else would do', () => {
  const entry = entryOf({ isolation: 'L3' })
  const by = { enforced: [], advisory: [], ownUser: false, ownNetwork: false }
  const said = (isolation: Parameters<typeof demandLevel>[1]): unknown => {
    try {
      return demandLevel(entry, isolation)
    } catch (error) {
      return error
    }
  }
  const other = (level: string): string =>
    `run: muster plugins show a, which says what it may do with ${level}; write "isolation": "${level}" if that will do`
  expect(said({ level: 'L2', because: { fact: 'f', mend: 'do it' }, ...by })).toMatchObject({
    message: "'a' must have isolation L3, and has L2 here: f",
    fix: `${other('L2')}; or do it`,
  })
  expect(said({ level: 'L1', because: { fact: 'f' }, ...by })).toMatchObject({ fix: other('L1') })
})

test('what nothing would be left of to enforce says what is not', () => {
  const { advisory } = isolationOf({ ...nothing, ...everything }, { entry: entryOf(), ground: rich })
  expect(advisory).toEqual(['everything else that it asks for'])
})

test('what a child process may do is the kernel’s to hold, where the plugin has a user of its own', () => {
  const asks = { ...nothing, childProcess: true }
  expect(isolationOf(asks, { entry: entryOf(), ground: rich }).advisory).toEqual([
    'files and network for its child processes, which its user alone holds',
  ])
  expect(isolationOf(asks, { entry: entryOf(), ground: poor }).advisory).toEqual(['files and network for its child processes'])
})

test('what has the network and reads any file, under development, is told to reach the daemon’s own socket by it', () => {
  const reaches = expect.stringContaining('socket of the daemon') as string
  const advisory = (permissions: Partial<PluginPermissions>, source: PluginEntry['source']): string[] =>
    isolationOf({ ...nothing, ...permissions }, { entry: entryOf({ source }), ground: poor }).advisory
  expect(advisory({ net: ['api.acme.test:443'] }, { folder: '.' })).toContainEqual(reaches)
  expect(advisory({ unix: ['/run/x.sock'] }, { folder: '.' })).toContainEqual(reaches)
  expect(advisory({}, { folder: '.' })).not.toContainEqual(reaches)
  expect(advisory({ net: ['api.acme.test:443'] }, { tarball: 'x.tgz' })).not.toContainEqual(reaches)
})

test('only what could have a user of its own asks what the machine gives', () => {
  const permissions = { ...nothing, ...everything }
  const folder = entryOf({ source: { folder: '.' } })
  expect(dependsOnGround(nothing, { entry: entryOf() })).toBe(true)
  expect(dependsOnGround(permissions, { entry: entryOf() })).toBe(false)
  expect(dependsOnGround(permissions, { entry: entryOf(), interpreter: 'python3' })).toBe(true)
  expect(dependsOnGround(nothing, { entry: folder })).toBe(false)
  expect(dependsOnGround(nothing, { entry: folder, interpreter: 'python3' })).toBe(false)
})
