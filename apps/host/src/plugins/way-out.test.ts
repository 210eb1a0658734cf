import { expect, test } from 'vitest'
import type { PluginSource } from './registry.ts'
import { addCommand, wayOfMisdescribed } from './way-out.ts'

const start = 'muster plugins add @acme/plugin@1.2.0 --as cloud'

test.each<[PluginSource | undefined, string]>([
  [undefined, start],
  [{ registry: 'default' }, start],
  [{ registry: 'ours' }, `${start} --registry ours`],
  [{ mirror: 'm' }, `${start} --mirror /etc/muster/m`],
  [{ folder: 'f' }, start],
  [{ tarball: 'a.tgz' }, 'muster plugins add --tarball /etc/muster/a.tgz --as cloud'],
])('the command that adds a version from %j names where it comes from', (source, command) => {
  const one = { alias: 'cloud', package: '@acme/plugin', base: '/etc/muster' }
  expect(addCommand(source === undefined ? one : { ...one, source }, '1.2.0')).toBe(command)
})

test('who runs a plugin that is not what its manifest says is told how to go back, and who writes it what is wrong', () => {
  expect(wayOfMisdescribed({ alias: 'cloud', source: { registry: 'default' } })).toMatch(
    /^build the plugin .*; or, where the lock has a version before: muster plugins rollback cloud$/,
  )
  expect(wayOfMisdescribed({ alias: 'cloud', source: { folder: '.' } })).not.toMatch(/rollback/)
})
