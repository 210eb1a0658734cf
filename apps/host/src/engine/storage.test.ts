import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bytesOf, openStorage } from './storage.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
let dataDir: string
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'muster-storage-'))
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
})
afterEach(async () => {
  await h.close()
  await rm(dataDir, { recursive: true, force: true })
})

async function file(path: string, bytes: number): Promise<void> {
  await mkdir(join(dataDir, path, '..'), { recursive: true })
  await writeFile(join(dataDir, path), Buffer.alloc(bytes))
}

test('folders, rows and the disk are told; a file beside the folders belongs to none', async () => {
  await file('runs/a/log', 100)
  await file('runs/b/out/x.tar', 20)
  await file('plugins/p.mjs', 7)
  await file('muster.db', 1000)
  await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const facts = await openStorage({ store: h.engine.store, dataDir, now: () => 42 }).facts()
  expect(facts.at).toBe(42)
  expect(facts.folders).toEqual({ plugins: 7, runs: 120 })
  expect(facts.store).toEqual(h.engine.store.size())
  expect(facts.disk.total).toBeGreaterThan(0)
  const rows = await h.engine.store.read.selectFrom('journal').select('seq').execute()
  expect(rows.length).toBeGreaterThan(1)
  expect(facts.rows).toMatchObject({ workers: 1, leases: 1, runs: 0, tokens: 0, journal: rows.length })
  await h.engine.store.write(async (tx) => void (await tx.deleteFrom('journal').execute()))
  const empty = await openStorage({ store: h.engine.store, dataDir }).facts()
  expect(empty.rows['journal']).toBe(0)
  expect(Math.abs(empty.at - Date.now())).toBeLessThan(60_000)
})

test('a folder on another disk counts, whatever leads to it; a link to nothing, or to a file, is none', async () => {
  await file('elsewhere/big/a/log', 40)
  await symlink(join(dataDir, 'elsewhere/big'), join(dataDir, 'runs'))
  await symlink(join(dataDir, 'elsewhere/big/a/log'), join(dataDir, 'log'))
  await symlink(join(dataDir, 'nowhere'), join(dataDir, 'crashes'))
  const { folders } = await openStorage({ store: h.engine.store, dataDir }).facts()
  expect(folders).toEqual({ elsewhere: 40, runs: 40 })
})

test('it is looked at once a minute at most, and a failure is not kept', async () => {
  const begin = 1_000_000
  let now = begin
  const storage = openStorage({ store: h.engine.store, dataDir, now: () => now })
  expect((await storage.facts()).folders).toEqual({})
  await file('runs/log', 5)
  now = begin + 59_999
  expect((await storage.facts()).folders).toEqual({})
  now = begin + 60_000
  expect((await storage.facts()).folders).toEqual({ runs: 5 })
  await rm(dataDir, { recursive: true })
  now = begin + 120_000
  await expect(storage.facts()).rejects.toMatchObject({ code: 'ENOENT' })
  await mkdir(dataDir)
  expect((await storage.facts()).folders).toEqual({})
  // A clock that was set back.
  await file('runs/log', 5)
  now = 0
  expect((await storage.facts()).folders).toEqual({ runs: 5 })
})

test('a folder that is not there has no bytes', async () => {
  expect(await bytesOf(join(dataDir, 'none'))).toBe(0)
})
