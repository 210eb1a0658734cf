/** How SQLite reads what the API lists: never a walk over all that has ended. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { storePath } from './files.ts'
import { openSqliteStore } from './open.ts'

let dir: string
let db: DatabaseSync
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-lists-'))
  await (await openSqliteStore(dir)).close()
  db = new DatabaseSync(storePath(dir), { readOnly: true })
})
afterAll(() => {
  db.close()
  rmSync(dir, { recursive: true, force: true })
})

const plan = (query: string): string =>
  db
    .prepare(`explain query plan ${query}`)
    .all()
    .map((row) => String(row['detail']))
    .join('; ')

test.each([
  ['workers', 'pool'],
  ['workers', 'provider'],
  ['leases', 'pool'],
  ['runs', 'pool'],
] as const)('%s by %s', (table, column) => {
  for (const page of ['', " and id < 'x'"]) {
    const all = plan(`select * from ${table} where ${column} = 'a'${page} order by id desc limit 100`)
    expect(all).toMatch(new RegExp(`^SEARCH ${table} USING INDEX ${table}_${column} [^;]*$`))
    const live = plan(`select * from ${table} where ended_at is null and ${column} = 'a'${page} order by id desc limit 100`)
    expect(live).toMatch(new RegExp(`^SEARCH ${table} USING INDEX ${table}_live_${column} [^;]*$`))
  }
})

test('runs of a worker', () => {
  for (const live of ['', 'ended_at is null and '])
    expect(plan(`select * from runs where ${live}worker_id = 'a' order by id desc limit 100`)).toContain(
      'USING INDEX runs_worker',
    )
})

test.each(['workers', 'leases', 'runs'])('live %s, and those to drop', (table) => {
  for (const query of [
    `select * from ${table} where ended_at is null order by id desc limit 100`,
    `select id from ${table} where ended_at < 1 limit 500`,
    `select ended_at from ${table} where ended_at is not null order by ended_at desc limit 1 offset 1000`,
  ])
    expect(plan(query)).toMatch(new RegExp(`USING (COVERING )?INDEX ${table}_(live|ended)[^;]*$`))
})
