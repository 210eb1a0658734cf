import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, it } from 'vitest'
import { loadRegistry, pathOf, readRegistry, sourceName } from './registry.ts'

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

const rule = { issuer: 'https://i.example', repository: 'https://r.example', workflow: 'w.yml' }

it.each([
  ['a registry of another protocol', { registries: { default: { url: 'ftp://x.example' } } }],
  ['a token without a url', { registries: { default: { token: { file: 't' } } } }],
  ['two sources', { plugins: { a: { package: 'a', version: '*', source: { mirror: 'm', tarball: 't' } } } }],
  ['a rule for names that no package has', { trust: { rules: [{ ...rule, packages: ['*'] }] } }],
  ['a rule for what only begins like a name', { trust: { rules: [{ ...rule, packages: ['@acme/plugin-*'] }] } }],
  ['an exemption for a scope without its star', { policy: { exempt: ['@acme'] } }],
  ['no source at all', { plugins: { a: { package: 'a', version: '*', source: {} } } }],
])('refuses %s', (_, given) => {
  expect(readRegistry(JSON.stringify({ plugins: {}, ...given }), { base: '/b', shown: 'plugins.json' }).problems).not.toEqual([])
})

it('has the scope’s registry for its packages, and what an entry says besides', () => {
  const registries = { '@acme': { url: 'https://x.example' }, mine: { url: 'https://y.example', token: { env: 'T' } } }
  const plugins = {
    a: { package: '@acme/a', version: '*', fallBack: true, isolation: 'L2' },
    b: { package: '@acme/b', version: '*', source: { registry: 'mine' }, fallBack: false },
  }
  const trust = { root: 'root.json' }
  const found = readRegistry(JSON.stringify({ registries, trust, plugins }), { base: '/base', shown: 'plugins.json' })
  expect(found.problems).toEqual([])
  expect(found.entries).toEqual([
    { alias: 'a', package: '@acme/a', version: '*', source: { registry: '@acme' }, isolation: 'L2', fallBack: true },
    { alias: 'b', package: '@acme/b', version: '*', source: { registry: 'mine' }, fallBack: false },
  ])
  expect([found.registries['mine'], found.trust]).toEqual([registries.mine, { rules: [], root: '/base/root.json' }])
})

it('says of a registry that it does not know which there are', () => {
  const at = (registries: object): object[] =>
    readRegistry(
      JSON.stringify({ registries, plugins: { a: { package: 'a', version: '*', source: { registry: 'x' } } } }, null, 1),
      {
        ...{ base: '/b', shown: 'plugins.json' },
      },
    ).problems
  expect(at({})).toMatchObject([{ reason: "no registry is named 'x'", fix: 'add it to registries' }])
  expect(at({ y: {}, '@z': {} })).toMatchObject([{ fix: 'add it to registries, or write one of: y, @z' }])
  expect(at({ x: {} })).toEqual([])
})

it('tells a file that is not there from one that cannot be read', async () => {
  await using folder = await tempFolder('registry')
  const file = join(folder.path, 'plugins.json')
  const missing = await loadRegistry(file, 'plugins.json')
  expect(missing).toMatchObject({
    base: folder.path,
    entries: [],
    registries: {},
    policy: { minReleaseAgeMs: 86_400_000, exempt: [] },
  })
  expect(missing.trust).toEqual({ rules: [] })
  expect(missing.problems).toMatchObject([
    { file: 'plugins.json', line: 1, column: 1, reason: 'the registry manifest does not exist' },
  ])
  expect(missing.problem([], { reason: 'x', fix: 'y' })).toEqual(missing.problems[0])
  await mkdir(join(folder.path, 'd'))
  const [unread] = (await loadRegistry(join(folder.path, 'd'), 'plugins.json')).problems
  expect(unread).toMatchObject({
    reason: expect.stringMatching(/^it cannot be read: EISDIR/),
    fix: 'give this user the right to read it',
  })
  await writeFile(file, '{"plugins":')
  expect((await loadRegistry(file, 'plugins.json')).problems).not.toEqual([])
  expect((await loadRegistry(file, 'plugins.json')).base).toBe(folder.path)
})

it('a source is named as it was written, and the registry of all as what it is', () => {
  expect([{ registry: 'default' }, { registry: '@acme' }, { tarball: 'default' }, { folder: 'x' }].map(sourceName)).toEqual([
    'the registry',
    'registry @acme',
    'tarball default',
    'folder x',
  ])
  const sources = [{ folder: 'f' }, { tarball: 't' }, { mirror: '/m' }, { registry: 'default' }]
  expect(sources.map((one) => pathOf(one, '/base'))).toEqual(['/base/f', '/base/t', '/m', undefined])
})
