import type { PluginManifest } from '@muster/core'
import { expect, test } from 'vitest'
import { asksForMore, differences } from './difference.ts'
import { plainManifest } from './testing/manifest.ts'

const before = plainManifest('@a/p')
const nothing = before.permissions

test('the same manifest differs in nothing', () => {
  expect(differences(before, plainManifest('@a/p'))).toEqual([])
  expect(asksForMore([])).toBe(false)
})

test.each<[string, Partial<PluginManifest>, { found: object[]; more: boolean }]>([
  [
    'another contract',
    { contract: ['1.1'] },
    {
      found: [
        { path: 'contract', kind: 'removed', before: '1.0' },
        { path: 'contract', kind: 'added', after: '1.1' },
      ],
      more: false,
    },
  ],
  [
    'an interpreter',
    { interpreter: 'python3' },
    { found: [{ path: 'interpreter', kind: 'added', after: 'python3' }], more: true },
  ],
  [
    'an address',
    { permissions: { ...nothing, net: ['x:1'] } },
    { found: [{ path: 'permissions.net', kind: 'added', after: 'x:1' }], more: true },
  ],
  [
    'child processes',
    { permissions: { ...nothing, childProcess: true } },
    { found: [{ path: 'permissions.childProcess', kind: 'changed', before: 'false', after: 'true' }], more: true },
  ],
  ['a secret', { secrets: ['token'] }, { found: [{ path: 'secrets', kind: 'added', after: 'token' }], more: true }],
  [
    'a limit',
    { limits: { ...before.limits, heapMb: 65 } },
    { found: [{ path: 'limits.heapMb', kind: 'changed', before: '64', after: '65' }], more: true },
  ],
  [
    'a capability that changes',
    { capabilities: { ...before.capabilities, watch: true } },
    { found: [{ path: 'capabilities.watch', kind: 'changed', before: 'false', after: 'true' }], more: false },
  ],
])('%s is told, one way and the other', (_, change, { found, more }) => {
  const after = { ...before, ...change } as PluginManifest
  expect(differences(before, after)).toEqual(found)
  expect(asksForMore(differences(before, after))).toBe(more)
  const back = differences(after, before)
  expect(back).toHaveLength(found.length)
  // Less needs nobody's consent.
  expect(asksForMore(back)).toBe(false)
})

test('a capability that comes or goes has one side alone', () => {
  const exec = { reattach: true, stdin: true, tty: false, exitCode: true }
  const after = { ...before, capabilities: { ...before.capabilities, exec } } as PluginManifest
  expect(differences(before, after)).toEqual([{ path: 'capabilities.exec', kind: 'added', after: JSON.stringify(exec) }])
  expect(differences(after, before)).toEqual([{ path: 'capabilities.exec', kind: 'removed', before: JSON.stringify(exec) }])
})

test('of one that is new all that it asks for and offers is told, and neither what it lacks nor its schemas', () => {
  const config = { type: 'object', properties: { a: {} } }
  const found = differences(
    undefined,
    plainManifest('@a/p', { secrets: ['token'], permissions: { ...nothing, env: ['HOME'] }, config }),
  )
  const paths = found.map(({ path }) => path)
  expect(paths).toEqual(expect.arrayContaining(['contract', 'permissions.env', 'secrets', 'capabilities.work', 'limits.heapMb']))
  for (const none of [
    'capabilities.watch',
    'capabilities.fields',
    'capabilities.exitRetentionMs',
    'permissions.childProcess',
    'config',
    'config.a',
    'interpreter',
  ])
    expect(paths).not.toContain(none)
  expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(['added']))
  expect(asksForMore(found)).toBe(true)
})

test('schemas are compared property by property, and words about them are no change of what may be written', () => {
  const of = (properties: object, more: object = {}): PluginManifest =>
    plainManifest('@a/p', { config: { type: 'object', properties, ...more } })
  const deep = (type: string): object => ({ zone: { type: 'object', properties: { name: { type } } } })
  expect(differences(of({ a: {} }), of({ b: {} }))).toEqual([
    { path: 'config.a', kind: 'removed' },
    { path: 'config.b', kind: 'added' },
  ])
  expect(differences(of(deep('string')), of(deep('number')))).toEqual([
    { path: 'config.zone.name', kind: 'changed', before: '{"type":"string"}', after: '{"type":"number"}' },
  ])
  expect(differences(of({}, { required: ['a'] }), of({}))).toEqual([
    { path: 'config', kind: 'changed', before: '{"type":"object","required":["a"]}', after: '{"type":"object"}' },
  ])
  const settings = (type: string): PluginManifest =>
    plainManifest('@a/p', { settings: { s: { type } } as unknown as PluginManifest['settings'] })
  expect(differences(settings('string'), settings('number'))).toMatchObject([{ path: 'settings', kind: 'changed' }])
})
