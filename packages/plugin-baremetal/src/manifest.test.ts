import { pluginManifestSchema } from '@muster/core'
import { expect, test } from 'vitest'
import * as z from 'zod'
import manifest from '../muster-plugin.json' with { type: 'json' }
import packageJson from '../package.json' with { type: 'json' }
import { configSchema, defaultUsers, parseConfig, settingsSchema } from './config.ts'
import { envBytes, handleVersion, honouredFields } from './translate.ts'

test('the manifest is one, and belongs to this package', () => {
  expect(pluginManifestSchema.parse(manifest)).toEqual(manifest)
  expect({ name: manifest.name, version: manifest.version }).toEqual({ name: packageJson.name, version: packageJson.version })
})

test('the manifest holds the schemas of config and settings', () => {
  expect(manifest.config).toEqual(z.toJSONSchema(configSchema))
  expect(manifest.settings).toEqual(z.toJSONSchema(settingsSchema))
})

test('the manifest promises what the code keeps', () => {
  const { fields, envBytes: bytes, handles } = manifest.capabilities
  expect({ fields, bytes, handles }).toEqual({ fields: honouredFields, bytes: envBytes, handles: [handleVersion] })
})

test('config is parsed strictly and frozen', () => {
  const config = parseConfig({ transport: 'local', users: { ...defaultUsers }, binds: ['/srv/cache'], slots: 3 })
  expect(config).toEqual({ transport: 'local', users: defaultUsers, binds: ['/srv/cache'], slots: 3 })
  expect(Object.isFrozen(config)).toBe(true)
})

test.each([
  [{}, 'config.transport'],
  [{ transport: 'ssh' }, 'config.transport'],
  [{ transport: 'local', rooot: '/x' }, 'config'],
  [{ transport: 'local', root: 'relative' }, 'config.root'],
  [{ transport: 'local', slots: 0 }, 'config.slots'],
  [{ transport: 'local', users: { from: 0, to: 5 } }, 'config.users.from'],
  [{ transport: 'local', users: { from: 5000, to: 4000 } }, 'config.users.to'],
  [{ transport: 'local', cgroup: 'on' }, 'config.cgroup'],
  [{ transport: 'local', logBytes: 1000 }, 'config.logBytes'],
  [{ transport: 'local', reserveBytes: -1 }, 'config.reserveBytes'],
])('config %j is refused at %s', (config, path) => {
  expect(() => parseConfig(config)).toThrowError(expect.objectContaining({ code: 'invalid-spec', effect: 'none', path }))
})
