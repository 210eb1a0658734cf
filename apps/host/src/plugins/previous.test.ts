/** The version to go back to, as a start finds it. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { treeOfFolder } from './content.ts'
import { hexOf } from './hex.ts'
import { loadLock } from './lock.ts'
import { writeMirror } from './mirror.ts'
import { discoverPrevious, type Previous } from './previous.ts'
import { lockHere } from './testing/lock.ts'
import { packPlugin } from './testing/pack.ts'

let folder: TempFolder
let file: string
beforeEach(async () => {
  folder = await tempFolder('previous')
  file = join(folder.path, 'plugins.json')
  await writeMirror(
    join(folder.path, 'm'),
    await Promise.all(
      ['1.0.0', '2.0.0'].map(async (version) => ({
        ...{ package: '@acme/plugin', version, published: '2026-01-01T00:00:00.000Z' },
        tarball: await packPlugin({ version }),
      })),
    ),
  )
})
afterEach(() => folder.remove())

const store = (): string => join(folder.path, 'store')
const write = (version: string, more: object = {}, around: object = {}): Promise<void> =>
  writeFile(
    file,
    JSON.stringify({ ...around, plugins: { acme: { package: '@acme/plugin', version, source: { mirror: 'm' }, ...more } } }),
  )

async function locked(version: string): Promise<void> {
  await write(version)
  const { problems } = await lockHere(file, { stores: [store()] })
  expect(problems).toEqual([])
}

const look = (alias = 'acme', more: object = {}): Promise<Previous> =>
  discoverPrevious(file, alias, { stores: [store()], shown: 'plugins.json', ...more })
const lockNow = async (): Promise<Awaited<ReturnType<typeof loadLock>>['lock']['plugins'][string]> =>
  (await loadLock(join(folder.path, 'plugins.lock.json'), 'x')).lock.plugins['acme'] as never

test('it is opened by what is locked of it, though no range names it', async () => {
  await locked('1.0.0')
  await locked('2.0.0')
  const [found, { tree, previous }] = [await look('acme', { ground: async () => ({}) }), await lockNow()]
  expect(found).toMatchObject({
    plugin: {
      ...{ alias: 'acme', entry: { version: '1.0.0' }, manifest: { version: '1.0.0' }, tree: previous?.tree },
      ...{ root: join(store(), hexOf(previous?.sha512 ?? '')), isolation: { level: 'L3' } },
    },
    currentTree: tree,
  })
  // Where nobody has looked what the machine gives, it has no user of its own.
  expect(await look()).toMatchObject({ plugin: { isolation: { level: 'L2' } } })
})

test('without one, or without that plugin, there is none, and it is said what makes one', async () => {
  const none = (alias: string): object => ({
    refused: { reason: `the lock holds no version before that of '${alias}'`, hint: 'lock it again, and restart' },
  })
  await locked('1.0.0')
  expect(await look()).toEqual(none('acme'))
  await locked('2.0.0')
  expect(await look('other')).toEqual(none('other'))
  expect(await look('toString')).toEqual(none('toString'))
  await writeFile(file, JSON.stringify({ plugins: {} }))
  expect(await look()).toEqual(none('acme'))
})

test('it is refused, and not thrown, where it may not or cannot be loaded', async () => {
  await locked('1.0.0')
  await locked('2.0.0')
  await write('2.0.0', { isolation: 'L3' })
  expect(await look()).toMatchObject({
    refused: { reason: expect.stringMatching(/must have isolation L3/), hint: expect.any(String) },
  })
  const rule = { packages: ['@acme/*'], issuer: 'https://i.example', repository: 'https://r.example/a', workflow: 'w.yml' }
  await write('2.0.0', {}, { trust: { rules: [rule] } })
  expect(await look()).toMatchObject({ refused: { reason: expect.stringMatching(/@acme\/plugin@1\.0\.0: it has no signature/) } })
  await write('2.0.0')
  const { previous } = await lockNow()
  await rm(join(store(), hexOf(previous?.sha512 ?? '')), { recursive: true })
  await rm(join(store(), '.packed'), { recursive: true })
  await rm(join(folder.path, 'm/@acme/plugin/1.0.0.tgz'))
  expect(await look()).toMatchObject({
    refused: {
      reason: expect.stringMatching(/^no-package: the mirror '.*' has no package @acme\/plugin@1\.0\.0$/),
      hint: `run: muster plugins mirror --out ${join(folder.path, 'm')}, where it can be had`,
    },
  })
})

test('what is wrong with the manifest or the lock is why it cannot be had', async () => {
  await locked('1.0.0')
  await locked('2.0.0')
  const lock = join(folder.path, 'plugins.lock.json')
  const text = await readFile(lock, 'utf8')
  await writeFile(lock, text.replaceAll('"size"', '"sise"'))
  expect(await look()).toMatchObject({ refused: { reason: expect.stringMatching(/size' is missing/), hint: expect.any(String) } })
  await writeFile(lock, text)
  await rm(file)
  expect(await look()).toMatchObject({
    refused: { reason: 'the registry manifest does not exist', hint: expect.stringMatching(/^create it/) },
  })
})

test('one that this host cannot speak with any more is refused', async () => {
  await locked('1.0.0')
  await locked('2.0.0')
  const { previous } = await lockNow()
  const root = join(store(), hexOf(previous?.sha512 ?? ''))
  const path = join(root, 'muster-plugin.json')
  const manifest = await readFile(path, 'utf8')
  await rm(path)
  await writeFile(path, manifest.replace('"1.0"', '"9.0"'))
  const lock = join(folder.path, 'plugins.lock.json')
  await writeFile(lock, (await readFile(lock, 'utf8')).replaceAll(previous?.tree ?? '', await treeOfFolder(root)))
  expect(await look()).toMatchObject({
    refused: { reason: expect.stringMatching(/speaks contract 9\.0/), hint: expect.any(String) },
  })
})
