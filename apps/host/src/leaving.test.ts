/** A provider that the configuration names no longer, as the next daemon finds it: by what was noted, and by what there is of its plugin. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import type { Deployment } from './dev-parts.ts'
import type { ProviderEntry } from './engine/entries.ts'
import { examine } from './examine.ts'
import { entriesFor, type Left, openLeft } from './leaving.ts'
import { addContent, treeOfFolder } from './plugins/content.ts'
import type { TrustPolicy } from './plugins/registry.ts'
import { packPlugin, pluginFiles } from './plugins/testing/pack.ts'
import { sealer } from './store/seal.ts'

const packed = { manifest: { secrets: ['token'] } }
const seals = sealer(new Uint8Array(32))

interface Site extends AsyncDisposable {
  path: string
  store: string
  /** What was noted while the provider `p` was named. */
  noted: ProviderEntry[]
  before: Deployment
  /** At a start that names it no more, with another data folder where one is given. */
  left(how?: { holding?: string[]; noted?: ProviderEntry[]; store?: string; rules?: TrustPolicy['rules'] }): Promise<Left>
}

async function openSite(): Promise<Site> {
  const temp = await tempFolder('leaving')
  const at = (name: string): string => join(temp.path, name)
  for (const [name, body = ''] of pluginFiles(packed)) {
    const file = at(name as string)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, body)
  }
  const plugins = { cloud: { package: '@acme/plugin', version: '*', source: { folder: 'package' } } }
  const write = async (file: object, registry: object): Promise<Deployment> => {
    await writeFile(at('muster.yaml'), JSON.stringify({ host: { data: at('data') }, pools: {}, ...file }))
    await writeFile(at('plugins.json'), JSON.stringify({ plugins: registry }))
    const { found, problems } = await examine(at('muster.yaml'), () => [at('data/plugins')])
    if (found === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
    return found
  }
  const secrets = { token: { file: '/etc/token' } }
  const before = await write({ providers: { p: { plugin: 'cloud', config: { pass: 'word' }, secrets } } }, plugins)
  const noted = entriesFor(before, seals)
  const now = await write({ providers: {} }, {})
  return {
    ...{ path: temp.path, store: at('data/plugins'), noted, before },
    left: ({ holding = ['p'], noted: entries = noted, store = at('data/plugins'), rules = [] } = {}) =>
      openLeft(entries, {
        ...now,
        discovery: { ...now.discovery, trust: { rules } },
        ...{ stores: [store], sealer: seals, holding: new Set(holding) },
      }),
    [Symbol.asyncDispose]: temp.remove,
  }
}

test('is as it was, with where its secrets come from; in the store nobody reads how it is configured', async () => {
  await using site = await openSite()
  const { opened, unopened, over } = await site.left()
  expect([opened, unopened.size, over]).toMatchObject([
    [
      {
        provider: { name: 'p', alias: 'cloud', config: { pass: 'word' }, secrets: { token: { file: '/etc/token' } } },
        plugin: { alias: 'cloud', root: join(site.path, 'package') },
      },
    ],
    0,
    [],
  ])
  expect(JSON.stringify(site.noted)).not.toContain('word')
})

test('that has nothing left is over, and one that is named is neither', async () => {
  await using site = await openSite()
  expect(await site.left({ holding: [] })).toMatchObject({ opened: [], over: ['p'] })
  const named = await openLeft(site.noted, { ...site.before, stores: [site.store], sealer: seals, holding: new Set(['p']) })
  expect(named).toMatchObject({ opened: [], over: [] })
})

test('whose plugin is gone, or cannot be read, says what brings it back', async () => {
  await using site = await openSite()
  const broken = await site.left({ noted: [{ name: 'p', value: '{"sealed":"x"}' }] })
  expect(broken.unopened.get('p')?.reason).toBe('how it was configured cannot be read')
  await rm(join(site.path, 'package'), { recursive: true })
  expect((await site.left()).unopened.get('p')).toMatchObject({
    reason: expect.stringMatching(/^its plugin cannot be opened: bad-package: the file is missing/) as string,
    hint: expect.stringMatching(/^bring back @acme\/plugin@\S+ as 'cloud' in the registry manifest and its lock$/) as string,
  })
})

test('is opened from where its bytes were unpacked, which are still those: in a data folder that was moved too', async () => {
  await using site = await openSite()
  const root = await addContent(await packPlugin(packed), site.store)
  const [plugin] = site.before.discovery.plugins
  if (plugin === undefined) throw new Error('no plugin')
  const entry = { ...plugin.entry, source: { registry: 'default' } }
  const locked = { ...plugin, root, entry, tree: await treeOfFolder(root) }
  const noted = entriesFor({ ...site.before, discovery: { ...site.before.discovery, plugins: [locked] } }, seals)
  expect(JSON.parse(noted[0]?.value ?? '')).toMatchObject({ content: basename(root) })
  const moved = join(site.path, 'moved')
  const there = await addContent(await packPlugin(packed), moved)
  expect((await site.left({ noted, store: moved })).opened[0]?.plugin).toMatchObject({ root: there, tree: locked.tree })
  await chmod(join(there, 'package.json'), 0o600)
  await writeFile(join(there, 'package.json'), '{}')
  expect((await site.left({ noted, store: moved })).unopened.get('p')?.reason).toContain('are not those of the lock')
})

test('whose plugin a rule of trust does not let in any more stays closed, and it is said how it is given up', async () => {
  await using site = await openSite()
  const root = await addContent(await packPlugin(packed), site.store)
  const [plugin] = site.before.discovery.plugins
  if (plugin === undefined) throw new Error('no plugin')
  const entry = { ...plugin.entry, source: { registry: 'default' } }
  const signer = { issuer: 'https://ci.test', repository: 'https://ci.test/acme/plugin', workflow: 'release.yml' }
  const entriesOf = (one: object): ProviderEntry[] => {
    const locked = { ...plugin, root, entry, tree, ...one }
    return entriesFor({ ...site.before, discovery: { ...site.before.discovery, plugins: [locked] } }, seals)
  }
  const tree = await treeOfFolder(root)
  const [signed, vouched] = [entriesOf({ signer: { ...signer, commit: 'c0ffee' } }), entriesOf({})]
  const rule = { packages: ['@acme/*'], ...signer }
  expect((await site.left({ noted: signed, rules: [rule] })).opened).toHaveLength(1)
  const others = [{ ...rule, repository: 'https://ci.test/acme/other' }]
  for (const given of [
    { noted: signed, rules: others },
    { noted: vouched, rules: [rule] },
  ])
    expect((await site.left(given)).unopened.get('p')).toEqual({
      reason: expect.stringContaining('a rule of trust asks for another signer of @acme/plugin@') as string,
      hint: 'look at its vendor by hand, then give it up: muster providers forget p',
    })
})
