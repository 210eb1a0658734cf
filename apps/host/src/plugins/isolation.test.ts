import type { PluginPermissions } from '@muster/core'
import { expect, test } from 'vitest'
import { demandLevel, isolationOf, type IsolationLevel } from './isolation.ts'

const nothing: PluginPermissions = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }
const everything = { fsWrite: ['/'], childProcess: true }

test.each<[string, Partial<PluginPermissions>, object]>([
  ['nothing', {}, { level: 'L2', advisory: [] }],
  ['files', { fsRead: ['/'], fsWrite: ['/'] }, { level: 'L2', advisory: [] }],
  ['the network', { net: ['*'] }, { level: 'L2', advisory: [expect.stringContaining('which hosts')] }],
  ['a socket', { unix: ['/run/x.sock'] }, { level: 'L2', advisory: [expect.stringContaining('sockets')] }],
  ['child processes', { childProcess: true }, { level: 'L2', advisory: ['all of it for its child processes'] }],
  ['all files and child processes', everything, { level: 'L1', because: expect.stringContaining('child processes') }],
])('a plugin that asks for %s', (_name, permissions, expected) => {
  expect(isolationOf({ ...nothing, ...permissions })).toMatchObject(expected)
})

test('what is allowed is not said to be enforced', () => {
  expect(isolationOf(nothing).enforced).toEqual(expect.arrayContaining(['no network', 'no child processes']))
  const { enforced } = isolationOf({ ...nothing, net: ['*'], childProcess: true })
  expect(enforced.filter((one) => one.startsWith('no '))).toEqual(['no worker threads, addons, inspector and node:sqlite'])
  expect(isolationOf({ ...nothing, ...everything }).enforced).toEqual(['names of the environment', 'size of its heap'])
})

test.each<[IsolationLevel | undefined, Partial<PluginPermissions>, boolean]>([
  [undefined, everything, true],
  ['L1', everything, true],
  ['L2', everything, false],
  ['L1', {}, true],
  ['L2', {}, true],
])('%s demanded of a plugin with %j: %s', (isolation, permissions, passes) => {
  const entry = { alias: 'a', package: 'a', version: '1.0.0', source: { folder: '.' } }
  const demand = (): void =>
    demandLevel({ ...entry, ...(isolation === undefined ? {} : { isolation }) }, isolationOf({ ...nothing, ...permissions }))
  if (passes) expect(demand()).toBeUndefined()
  else expect(demand).toThrow(expect.objectContaining({ code: 'below-level' }))
})
