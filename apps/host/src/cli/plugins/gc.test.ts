/** What `muster plugins gc` leaves: what the lock and live workers need, beside a store that a daemon may have open. */
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { hexOf } from '../../plugins/hex.ts'
import { lockText } from '../../plugins/lock.ts'
import { openSqliteStore } from '../../store/open.ts'
import { noteEntries } from '../../engine/entries.ts'
import { heldContents } from '../../engine/kept.ts'
import { keptContents } from '../../store/kept.ts'
import { collect, collectAfter } from './gc.ts'
import { openSite } from './site.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-gc-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const digest = (n: number): string => `sha512-${Buffer.alloc(64, n).toString('base64')}`
const none = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }
const waiver = { by: 'ann', at: '2026-01-01T00:00:00.000Z', reason: 'a test' }
const locked = (version: string, n: number): object => ({
  ...{ version, sha512: digest(n), size: 1, tree: digest(n), waiver, permissions: none },
})

test('what the lock holds, the one before too, and what live workers belong to stays; the rest goes', async () => {
  const data = join(dir, '.muster')
  const [current, before, kept, nobody, last] = [1, 2, 3, 4, 5].map((n) => hexOf(digest(n))) as [
    string,
    string,
    string,
    string,
    string,
  ]
  for (const name of [current, before, kept, nobody, last]) {
    await mkdir(join(data, 'plugins', name), { recursive: true })
    await utimes(join(data, 'plugins', name), 1, 1)
  }
  const source = { registry: 'default' }
  const plugin = { package: '@acme/cloud', source, ...locked('2.0.0', 1), previous: locked('1.0.0', 2) }
  await writeFile(join(dir, 'plugins.json'), JSON.stringify({ plugins: { cloud: { package: '@acme/cloud', version: '2.0.0' } } }))
  await writeFile(join(dir, 'plugins.lock.json'), lockText({ plugins: { cloud: plugin as never } }))
  // Open, as of a daemon that runs.
  const store = await openSqliteStore(data)
  const row = { provider: 'p', version: '0.9.0', tree: digest(3), content: kept, since: 1 }
  await store.write((tx) => tx.insertInto('kept_plugins').values(row).execute())
  // What a provider was configured with last is needed while it may have workers, whatever the lock holds.
  const entries = [
    { name: 'p', value: JSON.stringify({ content: last, sealed: '' }) },
    { name: 'q', value: '{"sealed":""}' },
  ]
  await store.write((tx) => noteEntries(tx, entries))
  expect(keptContents(data).toSorted()).toEqual([kept, last].toSorted())
  expect((await heldContents(store)).toSorted()).toEqual([kept, last].toSorted())

  await using site = await openSite({ manifest: join(dir, 'plugins.json'), data })
  expect(await collect(site, { keepMs: 0, dryRun: true })).toEqual([nobody])
  expect(await readdir(site.stores[0])).toHaveLength(5)
  await collectAfter(site)
  expect((await readdir(site.stores[0])).sort()).toEqual([current, before, kept, last].sort())
  await store.close()
  // Where the lock cannot be read nobody knows what it needs.
  await writeFile(join(dir, 'plugins.lock.json'), '{')
  await expect(collect(site, { keepMs: 0 })).rejects.toThrow('the lock cannot be read')
  await collectAfter(site)
  expect(await readdir(site.stores[0])).toHaveLength(4)
})

test('a data folder without a store, or with one of before, keeps nothing for workers', async () => {
  expect(keptContents(dir)).toEqual([])
})
