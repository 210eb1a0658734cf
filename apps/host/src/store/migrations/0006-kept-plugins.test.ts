import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSqliteStore } from '../open.ts'
import { migrations } from './index.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-migrate-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

test('workers of before belong to the version that runs, and none is kept; the older binary then refuses the store', async () => {
  const older = Object.fromEntries(Object.entries(migrations).filter(([name]) => name < '0006-kept-plugins'))
  const before = await openSqliteStore(dir, { migrations: older })
  const worker = {
    id: 'w1',
    pool: 'ci',
    provider: 'p',
    phase: 'idle' as const,
    rev: 3,
    spec: '{}',
    shape: 's',
    epoch: 1,
    attempt: 0,
  }
  const more = { created_at: 1, terminate_force: 0, grace_ms: 1, uses: 0, log_hold: 0, cordoned: 0 }
  await before.write(async (tx) => {
    // Of before, which had no such column.
    await tx
      .insertInto('workers')
      .values({ ...worker, ...more })
      .execute()
  })
  await before.close()
  const store = await openSqliteStore(dir)
  expect(await store.read.selectFrom('workers').select(['id', 'rev', 'plugin_version']).execute()).toEqual([
    { id: 'w1', rev: 3, plugin_version: null },
  ])
  expect(await store.read.selectFrom('kept_plugins').selectAll().execute()).toEqual([])
  await store.close()
  await expect(openSqliteStore(dir, { migrations: older })).rejects.toMatchObject({ code: 'newer' })
})
