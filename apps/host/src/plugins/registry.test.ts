import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readRegistry } from './registry.ts'

const examples = join(import.meta.dirname, '../../../../examples/configuration')

it('reads the example of a private registry: its scope, its token, its policy', async () => {
  const text = await readFile(join(examples, 'registries.json'), 'utf8')
  const { entries, registries, policy, trust, problems } = readRegistry(text, { base: '/etc/muster', shown: 'plugins.json' })
  expect(problems).toEqual([])
  expect(registries).toEqual({ '@acme': { url: 'https://npm.acme.example/', token: { file: '/run/secrets/npm' } } })
  expect(trust.rules).toMatchObject([{ packages: ['@acme/*'], workflow: '.github/workflows/release.yml' }])
  expect(policy).toEqual({ minReleaseAgeMs: 86_400_000, exempt: ['@acme/*'] })
  expect(entries.map(({ alias, source }) => [alias, source])).toEqual([
    ['cloud', { registry: '@acme' }],
    ['cloud-next', { registry: '@acme' }],
  ])
})

it('counts paths from its own folder, and asks the default registry where nothing else is said', () => {
  const given = { mirror: 'm', registries: { default: { url: 'https://x.example', token: { file: 't' } } } }
  const plugins = { a: { package: '@acme/a', version: '*' }, b: { package: 'b', version: '1.0.0' } }
  const found = readRegistry(JSON.stringify({ ...given, plugins }), { base: '/base', shown: 'plugins.json' })
  expect(found.problems).toEqual([])
  expect([found.mirror, found.registries['default']?.token]).toEqual(['/base/m', { file: '/base/t' }])
  expect(found.entries.map(({ source }) => source)).toEqual([{ registry: 'default' }, { registry: 'default' }])
})

it.each([
  ['a registry of another protocol', { registries: { default: { url: 'ftp://x.example' } } }],
  ['a token without a url', { registries: { default: { token: { file: 't' } } } }],
  ['two sources', { plugins: { a: { package: 'a', version: '*', source: { mirror: 'm', tarball: 't' } } } }],
  ['no source at all', { plugins: { a: { package: 'a', version: '*', source: {} } } }],
])('refuses %s', (_, given) => {
  expect(readRegistry(JSON.stringify({ plugins: {}, ...given }), { base: '/b', shown: 'plugins.json' }).problems).not.toEqual([])
})
