import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { storePath } from './files.ts'
import { openSqliteStore } from './open.ts'
import type { Store, Tx } from './store.ts'

let dir: string
let store: Store | undefined
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-room-'))
})
afterEach(async () => {
  await store?.close()
  store = undefined
  rmSync(dir, { recursive: true, force: true })
})

const fill =
  (from: number, count: number) =>
  async (tx: Tx): Promise<void> => {
    for (let n = from; n < from + count; n++)
      await tx
        .insertInto('meta')
        .values({ key: `k${n}`, value: 'x'.repeat(4000) })
        .execute()
  }
const clear = (tx: Tx): Promise<unknown> => tx.deleteFrom('meta').where('key', 'like', 'k%').execute()
const count = (path: string): number => {
  using db = new DatabaseSync(path, { readOnly: true })
  expect(Object.values(db.prepare('pragma quick_check').get() ?? {})).toEqual(['ok'])
  return Number(db.prepare("select count(*) as n from meta where key like 'k%'").get()?.['n'])
}

test('what was dropped goes back to the disk, slice by slice, and a little of it is not worth it', async () => {
  const opened = (store = await openSqliteStore(dir))
  expect(await opened.shrink()).toBe(false)
  await opened.write(fill(0, 8000))
  const full = opened.size().bytes
  await opened.write(clear)
  expect(opened.size().freeBytes).toBeGreaterThan(30e6)
  let slices = 0
  while (await opened.shrink()) {
    slices += 1
    await opened.write(fill(100_000 + slices, 1))
  }
  expect(slices).toBeGreaterThan(1)
  expect(opened.size().freeBytes).toBeLessThanOrEqual(16 * 2 ** 20)
  await opened.close()
  store = undefined
  expect(statSync(storePath(dir)).size).toBeLessThan(full / 2)
  expect(count(storePath(dir))).toBe(slices)
})

test('a store of before files could shrink can do it after its next start', async () => {
  store = await openSqliteStore(dir)
  await store.write(fill(0, 10))
  await store.close()
  {
    using old = new DatabaseSync(storePath(dir))
    old.exec('pragma auto_vacuum = none; vacuum')
    expect(old.prepare('pragma auto_vacuum').get()).toEqual({ auto_vacuum: 0 })
  }
  store = await openSqliteStore(dir)
  await store.close()
  store = undefined
  using now = new DatabaseSync(storePath(dir), { readOnly: true })
  expect(now.prepare('pragma auto_vacuum').get()).toEqual({ auto_vacuum: 2 })
  expect(count(storePath(dir))).toBe(10)
})

test('a copy is one state of the store, although writes go on, and a file of its own', async () => {
  const opened = (store = await openSqliteStore(dir))
  await opened.write(fill(0, 5000))
  const target = join(dir, 'copy.db')
  let written = 5000
  let copied = false
  const copying = opened.copyTo(target).finally(() => (copied = true))
  // Each write is 50 rows or none: a copy that saw half of one would show it.
  const writing = (async () => {
    for (; !copied; written += 50) await opened.write(fill(written, 50))
  })()
  await Promise.all([copying, writing])
  expect(readdirSync(dir).filter((name) => name.startsWith('copy'))).toEqual(['copy.db'])
  expect(statSync(target).mode & 0o777).toBe(0o600)
  expect(count(target) % 50).toBe(0)
  expect(count(target)).toBeGreaterThanOrEqual(5000)
  expect(count(target)).toBeLessThanOrEqual(written)
})

test('a copy that is given up, or has no place, leaves nothing', async () => {
  const opened = (store = await openSqliteStore(dir))
  await opened.write(fill(0, 5000))
  const stop = new AbortController()
  const copying = opened.copyTo(join(dir, 'copy.db'), stop.signal)
  stop.abort(new Error('not wanted any more'))
  await expect(copying).rejects.toThrow('not wanted any more')
  await expect(opened.copyTo(join(dir, 'none', 'copy.db'))).rejects.toThrow('ENOENT')
  expect(readdirSync(dir).filter((name) => name.startsWith('copy'))).toEqual([])
  await opened.write(fill(9000, 1))
})
