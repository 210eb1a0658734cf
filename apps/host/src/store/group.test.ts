import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kysely, sql } from 'kysely'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Group, groupCommit } from './group.ts'
import type { Tables } from './schema.ts'
import { openDatabase, sqliteConnection, sqliteDialect, storeError } from './sqlite.ts'
import type { StoreHealth, Tx } from './store.ts'

let dir: string
let group: Group
let health: StoreHealth[]
let db: ReturnType<typeof openDatabase>
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-group-'))
  health = []
  db = openDatabase({ path: join(dir, 'x.db'), busyMs: 0 })
  db.exec('create table meta (key text primary key, value text not null) strict')
  const connection = sqliteConnection(db)
  group = groupCommit({
    connection: {
      run: (text) => {
        try {
          connection.run(text)
        } catch (error) {
          throw storeError(error)
        }
      },
      changes: connection.changes,
    },
    tx: new Kysely<Tables>({ dialect: sqliteDialect(connection) }),
    busyMs: 100,
    now: Date.now,
    onHealth: (changed) => health.push(changed),
  })
})
afterEach(async () => {
  await group.close()
  db.close()
  rmSync(dir, { recursive: true, force: true })
})

const put = (key: string, bytes: number) => (tx: Tx) =>
  tx
    .insertInto('meta')
    .values({ key, value: 'x'.repeat(bytes) })
    .execute()

test('a database that may not grow: SQLite says full, nothing of the group stays, and it goes on when it may', async () => {
  await group.write(put('a', 10))
  db.exec(`pragma max_page_count = ${String(Object.values(db.prepare('pragma page_count').get() ?? {})[0])}`)
  const results = await Promise.allSettled([group.write(put('b', 10)), group.write(put('c', 100_000)), group.write(put('d', 10))])
  expect(results.map((result) => (result.status === 'rejected' ? (result.reason as { code: string }).code : ''))).toEqual([
    'full',
    'full',
    'full',
  ])
  expect(db.prepare('select key from meta').all()).toHaveLength(1)
  expect(health).toMatchObject([{ state: 'full', hint: expect.stringContaining('room') }])
  db.exec('pragma max_page_count = 100000')
  await group.write(put('c', 100_000))
  expect(health.at(-1)?.state).toBe('ok')
})

test('the probe alone finds the store well again', async () => {
  await group.write(put('a', 10))
  db.exec(`pragma max_page_count = ${String(Object.values(db.prepare('pragma page_count').get() ?? {})[0])}`)
  await expect(group.write(put('c', 100_000))).rejects.toMatchObject({ code: 'full' })
  db.exec('pragma max_page_count = 100000')
  await expect.poll(() => health.at(-1)?.state, { timeout: 3000 }).toBe('ok')
})

test('a transaction that changed nothing does not call an ill store well', async () => {
  await group.write(put('a', 10))
  db.exec(`pragma max_page_count = ${String(Object.values(db.prepare('pragma page_count').get() ?? {})[0])}`)
  await expect(group.write(put('c', 100_000))).rejects.toMatchObject({ code: 'full' })
  await group.write((tx) => tx.deleteFrom('meta').where('key', '=', 'nowhere').execute())
  expect(health.map(({ state }) => state)).toEqual(['full'])
  db.exec('pragma max_page_count = 100000')
  await expect.poll(() => health.at(-1)?.state, { timeout: 3000 }).toBe('ok')
})

test('more writes than may wait are refused, and the others are not lost', async () => {
  const writes = Array.from({ length: 50_001 }, () => group.write(async () => 'done'))
  await expect(writes.pop()).rejects.toMatchObject({ code: 'overloaded' })
  expect(new Set(await Promise.all(writes))).toEqual(new Set(['done']))
  expect(group.stats()).toMatchObject({ writes: 50_000, waiting: 0 })
})

test('a statement that is wrong fails alone and is told as it is', async () => {
  const wrong = group.write((tx) => sql`select * from nowhere`.execute(tx as Kysely<Tables>))
  await expect(wrong).rejects.toThrow('no such table')
  await group.write(put('a', 1))
  expect(health).toEqual([])
})

test('whoever writes again and again does not keep everything else waiting', async () => {
  let turned = 0
  const turning = setInterval(() => (turned += 1), 1)
  for (let n = 0; n < 500; n++) await group.write(put(`k${n}`, 10))
  clearInterval(turning)
  expect(turned).toBeGreaterThan(1)
})
