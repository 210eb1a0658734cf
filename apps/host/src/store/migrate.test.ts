import { mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Kysely, sql } from 'kysely'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Migrations } from './migrate.ts'
import { migrations } from './migrations/index.ts'
import { storePath } from './files.ts'
import { openSqliteStore } from './open.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-migrate-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const names = Object.keys(migrations).sort()
const upTo = (count: number): Migrations =>
  Object.fromEntries(names.slice(0, count).map((name) => [name, migrations[name] ?? {}])) as Migrations
const copies = (): string[] => readdirSync(dir).filter((name) => name.includes('.before'))

async function openedWith(steps: Migrations, put?: string): Promise<string[]> {
  const store = await openSqliteStore(dir, { migrations: steps })
  try {
    if (put !== undefined) await store.write((tx) => tx.insertInto('meta').values({ key: put, value: 'v' }).execute())
    return (await store.read.selectFrom('meta').select('key').orderBy('key').execute()).map((row) => row.key)
  } finally {
    await store.close()
  }
}

/** Everything that makes the form of a store. */
function form(): unknown[] {
  using db = new DatabaseSync(storePath(dir), { readOnly: true })
  return db.prepare('select type, name, sql from sqlite_schema order by type, name').all()
}

const sound: Migrations[string] = {
  up: (db: Kysely<unknown>) => sql`create table later (id text primary key) strict`.execute(db).then(() => undefined),
}
const halfWay: Migrations[string] = {
  up: async (db: Kysely<unknown>) => {
    await sql`create table half (id text primary key) strict`.execute(db)
    await sql`alter table meta add column half text`.execute(db)
    await sql`delete from meta`.execute(db)
    throw new Error('planted by the test')
  },
}

test('the store of each earlier version opens, and has the form that a new one has', async () => {
  await openedWith(migrations)
  const wanted = form()
  for (let count = 1; count < names.length; count++) {
    rmSync(dir, { recursive: true })
    await openedWith(upTo(count), 'old')
    expect(await openedWith(migrations)).toEqual(['old'])
    expect(
      form()
        .map((row) => JSON.stringify(row))
        .sort(),
    ).toEqual(wanted.map((row) => JSON.stringify(row)).sort())
  }
})

test('a migration that fails half-way leaves the store as it was, also what others before it did', async () => {
  await openedWith(migrations, 'kept')
  const before = form()
  const broken = { ...migrations, '9997-sound': sound, '9998-half': halfWay }
  await expect(openSqliteStore(dir, { migrations: broken })).rejects.toMatchObject({
    code: 'migration',
    message: expect.stringContaining('9998-half failed: planted by the test') as string,
    hint: expect.stringContaining('as it was before') as string,
  })
  expect(form()).toEqual(before)
  expect(await openedWith(migrations)).toEqual(['kept'])
})

test('an upgrade keeps the file of before, one of them, and going back is putting it in place', async () => {
  await openedWith(migrations, 'before')
  expect(copies()).toEqual([])
  const newer = { ...migrations, '9997-sound': sound }
  await openedWith(newer, 'after')
  expect(copies()).toEqual(['muster.db.before-9997-sound'])
  expect(statSync(join(dir, 'muster.db.before-9997-sound')).mode & 0o777).toBe(0o600)
  await expect(openSqliteStore(dir, { migrations })).rejects.toMatchObject({
    code: 'newer',
    message: expect.stringContaining('9997-sound') as string,
    hint: expect.stringContaining('muster.db.before-') as string,
  })
  await openedWith({ ...newer, '9999-more': { up: async () => undefined } })
  expect(copies()).toEqual(['muster.db.before-9999-more'])
  renameSync(join(dir, 'muster.db.before-9999-more'), storePath(dir))
  expect(await openedWith(newer)).toEqual(['after', 'before'])
})

test('the copy goes after two weeks, not before', async () => {
  await openedWith(migrations)
  const newer = { ...migrations, '9997-sound': sound }
  await openedWith(newer)
  const copy = join(dir, copies()[0] ?? '')
  const day = 86_400
  const now = Date.now() / 1000
  utimesSync(copy, now - 13 * day, now - 13 * day)
  await openedWith(newer)
  expect(copies()).toHaveLength(1)
  utimesSync(copy, now - 15 * day, now - 15 * day)
  await openedWith(newer)
  expect(copies()).toEqual([])
})

test('what a full disk stops is told as that, though SQLite has undone the transaction itself', async () => {
  await openedWith(upTo(1), 'old')
  const full: Migrations[string] = {
    up: async (db: Kysely<unknown>) => {
      await sql`rollback`.execute(db)
      throw Object.assign(new Error('database or disk is full'), { errcode: 13 })
    },
  }
  await expect(openSqliteStore(dir, { migrations: { ...upTo(1), '9999-full': full } })).rejects.toMatchObject({ code: 'full' })
  expect(await openedWith(upTo(1))).toEqual(['old'])
})
