/** A version that is kept for live workers stays in the lock: nobody would reach them after the next start otherwise. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MusterClient, PluginUpgrade } from '@muster/client'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Lock } from '../../plugins/lock.ts'
import { startTestRegistry, type TestRegistry } from '../../plugins/testing/npm-registry.ts'
import { packPlugin } from '../../plugins/testing/pack.ts'
import { openSqliteStore } from '../../store/open.ts'
import type { Store } from '../../store/store.ts'
import { addPlugin, removePlugin, updatePlugins } from './add.ts'
import { openSite, type Site } from './site.ts'
import { rollBackPlugin, upgradePlugin } from './upgrade.ts'

const name = '@acme/plugin'
const agreed = { yes: true, waive: 'a test', json: true } as const
let temp: TempFolder
let registry: TestRegistry
let store: Store
beforeEach(async () => {
  temp = await tempFolder('kept')
  registry = await startTestRegistry()
  for (const version of ['1.0.0', '1.1.0', '2.0.0', '3.0.0'])
    registry.publish(name, version, { tarball: await packPlugin({ version }), published: '2026-01-01T00:00:00.000Z' })
  await writeFile(at('plugins.json'), JSON.stringify({ registries: { default: { url: registry.url } }, plugins: {} }))
  const config = { host: { data: 'data' }, providers: { p: { plugin: 'cloud' } }, pools: {} }
  await writeFile(at('muster.yaml'), JSON.stringify(config))
  // As of a daemon that runs.
  store = await openSqliteStore(at('data'))
  await add('1.0.0')
  await add('2.0.0')
  await keep((await lock()).plugins['cloud']?.previous?.tree ?? '')
})
afterEach(async () => {
  await store.close()
  await registry[Symbol.asyncDispose]()
  await temp.remove()
})

const at = (file: string): string => join(temp.path, file)
const open = (): Promise<Site> => openSite({ config: at('muster.yaml') })
const lock = async (): Promise<Lock> => JSON.parse(await readFile(at('plugins.lock.json'), 'utf8')) as Lock
async function add(version: string, options: Partial<Parameters<typeof addPlugin>[2]> = {}): Promise<number> {
  await using site = await open()
  return await addPlugin(site, `${name}@${version}`, { ...agreed, as: 'cloud', ...options })
}

/** Version 1.0.0, for two workers. */
async function keep(tree: string): Promise<void> {
  const worker = { pool: 'a', provider: 'p', phase: 'leased', rev: 1, spec: '{}', shape: '', epoch: 1, attempt: 0, created_at: 1 }
  const more = { terminate_force: 0, grace_ms: 1, uses: 0, log_hold: 0, cordoned: 0 }
  await store.write(async (tx) => {
    await tx.insertInto('kept_plugins').values({ provider: 'p', version: '1.0.0', tree, content: 'x', since: 1 }).execute()
    for (const [id, version] of [
      ['w1', '1.0.0'],
      ['w2', '1.0.0'],
      ['w3', '2.0.0'],
    ] as const)
      await tx
        .insertInto('workers')
        .values({ ...worker, ...more, id, plugin_version: version } as never)
        .execute()
  })
}

const refusal = {
  code: 'still-needed',
  message: "version 1.0.0 of 'cloud' is kept for workers of p, and the lock would hold it no longer: w1, w2",
}

test('what would drop it from the lock is refused, and names the workers', async () => {
  const before = await lock()
  await expect(add('3.0.0')).rejects.toMatchObject(refusal)
  const { yes: _yes, ...asked } = agreed
  await expect(add('3.0.0', { ...asked, dryRun: true, yes: undefined } as never)).rejects.toMatchObject(refusal)
  await writeFile(at('plugins.json'), (await readFile(at('plugins.json'), 'utf8')).replace('"2.0.0"', '"^2.0.0 || ^3.0.0"'))
  await using site = await open()
  await expect(updatePlugins(site, [], agreed)).rejects.toMatchObject(refusal)
  expect(await lock()).toEqual(before)
  await store.write((tx) => tx.deleteFrom('kept_plugins').execute())
  expect(await updatePlugins(site, [], agreed)).toBe(0)
  expect((await lock()).plugins['cloud']?.version).toBe('3.0.0')
})

test('what leaves it there is not: another alias, the way back, and what a daemon has taken over', async () => {
  expect(await add('1.0.0', { as: 'other' })).toBe(0)
  expect(await add('2.0.0', { as: 'other' })).toBe(0)
  // The provider does not use that one.
  await using aside = await open()
  expect(await removePlugin(aside, 'other', agreed)).toBe(0)
  const down = (): Promise<MusterClient> => Promise.reject(Object.assign(new Error('none'), { code: 'no-daemon' }))
  await using back = await open()
  expect(await rollBackPlugin(back, 'cloud', { ...agreed, client: down })).toBe(0)
  expect((await lock()).plugins['cloud']).toMatchObject({ version: '1.0.0', previous: { version: '2.0.0' } })
  const answer = {
    alias: 'cloud',
    before: '1.0.0',
    after: '3.0.0',
    go: true,
    switched: true,
    steps: [],
    lost: [],
    kept: [],
    errors: [],
  }
  const client = { version: async () => ({}), plugins: { upgrade: async (): Promise<PluginUpgrade> => answer } }
  await using next = await open()
  expect(await upgradePlugin(next, 'cloud@3.0.0', { ...agreed, client: async () => client as unknown as MusterClient })).toBe(0)
  expect((await lock()).plugins['cloud']?.version).toBe('3.0.0')
})

test('an upgrade of one plugin does not drop what is kept of another', async () => {
  expect(await add('1.0.0', { as: 'other' })).toBe(0)
  await writeFile(at('plugins.json'), (await readFile(at('plugins.json'), 'utf8')).replace('"2.0.0"', '"3.0.0"'))
  const heard: unknown[] = []
  const client = { version: async () => ({}), plugins: { upgrade: async (alias: string) => heard.push(alias) } }
  await using site = await open()
  const asked = upgradePlugin(site, 'other@1.1.0', { ...agreed, client: async () => client as unknown as MusterClient })
  await expect(asked).rejects.toMatchObject(refusal)
  expect(heard).toEqual([])
})
