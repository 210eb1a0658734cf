/** What upgrade writes, and when; the daemon is a scripted one here. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MusterClient, PluginUpgrade } from '@muster/client'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startTestRegistry, type TestRegistry } from '../../plugins/testing/npm-registry.ts'
import { packPlugin } from '../../plugins/testing/pack.ts'
import { addPlugin } from './add.ts'
import { openSite, type Site } from './site.ts'
import { upgradePlugin } from './upgrade.ts'

const name = '@acme/plugin'
const agreed = { yes: true, waive: 'a test', json: true } as const
let temp: TempFolder
let registry: TestRegistry
let file: string
beforeEach(async () => {
  temp = await tempFolder('upgrade')
  registry = await startTestRegistry()
  file = join(temp.path, 'plugins.json')
  for (const version of ['1.0.0', '2.0.0', '3.0.0'])
    registry.publish(name, version, { tarball: await packPlugin({ version }), published: '2026-01-01T00:00:00.000Z' })
  await writeFile(file, JSON.stringify({ registries: { default: { url: registry.url } }, plugins: {} }))
  await using site = await open()
  expect(await addPlugin(site, `${name}@1.0.0`, { ...agreed, as: 'cloud' })).toBe(0)
})
afterEach(async () => {
  vi.restoreAllMocks()
  await registry[Symbol.asyncDispose]()
  await temp.remove()
})

const open = (): Promise<Site> => openSite({ manifest: file, data: join(temp.path, 'data') })

/** A daemon that answers an upgrade as told. */
function daemon(upgrade: (alias: string, how: { candidate?: string }) => Promise<PluginUpgrade>): () => Promise<MusterClient> {
  const client = { version: async () => ({}), plugins: { upgrade } }
  return () => Promise.resolve(client as unknown as MusterClient)
}

async function upgraded(to: string, client: () => Promise<MusterClient>): Promise<number> {
  await using site = await open()
  return await upgradePlugin(site, `cloud@${to}`, { ...agreed, client })
}

const answer: PluginUpgrade = {
  ...{ alias: 'cloud', before: '1.0.0', after: '2.0.0', go: true, switched: true, steps: [], lost: [], kept: [], errors: [] },
}
const version = async (at: string): Promise<string> => {
  const text = await readFile(join(temp.path, at), 'utf8')
  return (JSON.parse(text) as { plugins: { cloud: { version: string } } }).plugins.cloud.version
}
const here = async (): Promise<string[]> => (await readdir(temp.path)).filter((one) => one.startsWith('plugins')).sort()

test('the daemon is given files of this upgrade alone, and what it switched to is written', async () => {
  const left = join(temp.path, 'plugins.next-00112233445566ff.lock.json')
  await writeFile(left, 'of a command that was killed')
  const seen: string[] = []
  const client = daemon(async (_alias, { candidate = '' }) => {
    seen.push(await version(`plugins.next-${candidate}.json`), await version(`plugins.next-${candidate}.lock.json`))
    seen.push(await version('plugins.lock.json'))
    expect(await here()).not.toContain(left)
    return answer
  })
  expect(await upgraded('2.0.0', client)).toBe(0)
  expect(seen).toEqual(['2.0.0', '2.0.0', '1.0.0'])
  expect([await version('plugins.json'), await version('plugins.lock.json')]).toEqual(['2.0.0', '2.0.0'])
  expect(await here()).toEqual(['plugins.json', 'plugins.lock.json'])
})

test('nothing is written where the daemon did not switch', async () => {
  const client = daemon(() => Promise.reject(new Error('the connection was cut')))
  await expect(upgraded('2.0.0', client)).rejects.toThrow('the connection was cut')
  expect(await version('plugins.lock.json')).toBe('1.0.0')
  expect(await here()).toEqual(['plugins.json', 'plugins.lock.json'])
})

test('a connection that ends in the middle is told at once: what is known, and what shows more', async () => {
  const said: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  const client = (async () => ({
    version: async () => ({}),
    plugins: {
      upgrade: async (_alias: string, _how: object, { onCut }: { onCut(error: Error): void }) => {
        onCut(new Error('the connection to unix:x ended before the answer: read ECONNRESET'))
        expect(said.join('')).toMatch(
          /read ECONNRESET; whether cloud was switched is not known, and plugins.json and the lock stay as they were\n.*muster providers\n/,
        )
        return answer
      },
    },
  })) as unknown as () => Promise<MusterClient>
  expect(await upgraded('2.0.0', client)).toBe(0)
})

test('of two at once the second is refused before the daemon hears of it, and works afterwards', async () => {
  const asked = Promise.withResolvers<void>()
  const may = Promise.withResolvers<PluginUpgrade>()
  const first = upgraded(
    '2.0.0',
    daemon(() => {
      asked.resolve()
      return may.promise
    }),
  )
  await asked.promise
  const heard: string[] = []
  const client = daemon(async (alias) => {
    heard.push(alias)
    return answer
  })
  await expect(upgraded('3.0.0', client)).rejects.toMatchObject({ code: 'conflict' })
  expect(heard).toEqual([])
  may.resolve(answer)
  expect(await first).toBe(0)
  expect(await version('plugins.lock.json')).toBe('2.0.0')
  expect(await upgraded('3.0.0', client)).toBe(0)
  expect([heard, await version('plugins.lock.json')]).toEqual([['cloud'], '3.0.0'])
})

test('one that read the files before another changed them does not switch the daemon to what it cannot write', async () => {
  await using site = await open()
  expect(
    await upgraded(
      '2.0.0',
      daemon(() => Promise.resolve(answer)),
    ),
  ).toBe(0)
  const client = daemon(() => Promise.reject(new Error('asked')))
  const late = upgradePlugin(site, 'cloud@3.0.0', { ...agreed, client })
  await expect(late).rejects.toMatchObject({ code: 'changed-meanwhile' })
})
