import { pluginManifestSchema } from '@muster/core'
import { expect, test } from 'vitest'
import * as z from 'zod'
import manifest from '../muster-plugin.json' with { type: 'json' }
import packed from '../package.json' with { type: 'json' }
import { configSchema, defaultSocket, parseConfig } from './config.ts'
import { plugin } from './index.ts'
import { settingsSchema } from './settings.ts'
import { envBytes } from './translate.ts'

const print = `SHA256:${'a'.repeat(43)}`

test.each([
  [undefined, { socketPath: defaultSocket }],
  [{}, { socketPath: defaultSocket }],
  [{ socket: '/run/engine.sock' }, { socketPath: '/run/engine.sock' }],
  [{ address: '127.0.0.1:2375' }, { host: '127.0.0.1', port: 2375 }],
  [{ address: '127.8.8.8:1' }, { host: '127.8.8.8', port: 1 }],
  [{ address: 'localhost:65535' }, { host: 'localhost', port: 65_535 }],
  [{ address: '[::1]:2375' }, { host: '::1', port: 2375 }],
  [
    { address: 'build-1.example:2376', tls: {} },
    { host: 'build-1.example', port: 2376, tls: { name: 'build-1.example', trust: 'secret' } },
  ],
  [
    { address: '[fd00::1]:2376', tls: { name: 'engine', trust: 'system' } },
    { host: 'fd00::1', port: 2376, tls: { name: 'engine', trust: 'system' } },
  ],
  [
    { ssh: { url: 'ssh://deploy@build-1', hostKeys: [print] } },
    { ssh: { user: 'deploy', host: 'build-1', port: 22, hostKeys: [{ fingerprint: print }], socketPath: defaultSocket } },
  ],
  [
    { socket: '/run/e.sock', ssh: { url: 'ssh://d@[::1]:2222', hostKeys: [print] } },
    { ssh: { user: 'd', host: '::1', port: 2222, hostKeys: [{ fingerprint: print }], socketPath: '/run/e.sock' } },
  ],
])('%j is an engine at %j', (input, expected) => {
  expect(parseConfig(input).endpoint).toEqual(expected)
})

test.each([
  [{ socket: 'relative.sock' }, 'config.socket'],
  [{ socket: 7 }, 'config.socket'],
  [{ address: '10.0.0.1:2375' }, 'config.address'],
  [{ address: 'example.org:2375' }, 'config.address'],
  [{ address: '127.0.0.1' }, 'config.address'],
  [{ address: '127.0.0.1:0' }, 'config.address'],
  [{ address: '127.0.0.1:65536' }, 'config.address'],
  [{ socket: '/run/a.sock', address: '127.0.0.1:2375' }, 'config.address'],
  [{ sockets: '/run/a.sock' }, 'config'],
  [{ tls: {} }, 'config.tls'],
  [{ address: 'a b:1', tls: {} }, 'config.address'],
  [{ address: 'a:1', tls: { name: '*.example' } }, 'config.tls.name'],
  [{ address: 'a:1', tls: { verify: false } }, 'config.tls'],
  [{ ssh: { url: 'ssh://build-1', hostKeys: [print] } }, 'config.ssh.url'],
  [{ ssh: { url: 'ssh://d:password@build-1', hostKeys: [print] } }, 'config.ssh.url'],
  [{ ssh: { url: 'ssh://d@build-1:99999', hostKeys: [print] } }, 'config.ssh.url'],
  [{ ssh: { url: 'ssh://d@build-1', hostKeys: [] } }, 'config.ssh.hostKeys'],
  [{ ssh: { url: 'ssh://d@build-1', hostKeys: [print, 'any'] } }, 'config.ssh.hostKeys.1'],
  [{ address: '127.0.0.1:1', ssh: { url: 'ssh://d@build-1', hostKeys: [print] } }, 'config.address'],
  [{ images: { budget: '20GB' } }, 'config.images.budget'],
  [{ images: { unusedFor: 7 } }, 'config.images.unusedFor'],
  [{ copies: { size: '7' } }, 'config.copies.size'],
  [{ copies: { entries: 0 } }, 'config.copies.entries'],
  ['/run/a.sock', 'config'],
])('%j is refused at %s', (input, path) => {
  expect(() => parseConfig(input)).toThrow(expect.objectContaining({ code: 'invalid-spec', effect: 'none', path }) as Error)
})

test('what is parsed cannot be changed', () => {
  expect(Object.isFrozen(parseConfig({}))).toBe(true)
})

test('the manifest is valid, says what the package says, and its schemas are those that are parsed with', () => {
  expect(pluginManifestSchema.safeParse(manifest).error).toBeUndefined()
  expect(manifest).toMatchObject({ name: packed.name, version: packed.version, capabilities: { envBytes } })
  expect(manifest.config).toEqual(z.toJSONSchema(configSchema))
  expect(manifest.settings).toEqual(z.toJSONSchema(settingsSchema))
})

test('the provider has the methods that the manifest declares, and no others', async () => {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const provider = await plugin.create({}, { provider: 'docker', owner: 'owner', dataDir: '/nonexistent', log, now: Date.now })
  const { capabilities: declared } = plugin.manifest
  const wanted: Record<string, boolean> = {
    probe: true,
    launch: true,
    terminate: true,
    list: true,
    inspect: true,
    watch: declared.watch,
    logs: declared.logs !== undefined,
    exec: declared.exec !== undefined,
    execState: declared.exec !== undefined,
    execKill: declared.exec !== undefined,
    execResize: declared.exec?.tty === true,
    copyIn: declared.copy?.in === true,
    copyOut: declared.copy?.out === true,
    forward: declared.forward,
    suspend: declared.suspend !== undefined,
    resume: declared.suspend !== undefined,
    stats: declared.stats,
    headroom: declared.headroom,
    quote: declared.quote,
    preparePool: declared.preparePool,
    unpreparePool: declared.preparePool,
  }
  expect(Object.keys(provider).toSorted()).toEqual(
    Object.keys(wanted)
      .filter((name) => wanted[name])
      .toSorted(),
  )
})
