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

test.each([
  ['0005-logs', 'log_problem'],
  ['0009-log-ends', 'log_end'],
] as const)(
  'of the logs of runs of before %s nothing is known in %s; the older binary then refuses the store',
  async (name, column) => {
    const older = Object.fromEntries(Object.entries(migrations).filter(([one]) => one < name))
    const before = await openSqliteStore(dir, { migrations: older })
    const run = { id: 'r1', kind: 'run', pool: 'ci', principal: 'ann', state: 'ended', rev: 3, request: '{}', artifacts: '[]' }
    await before.write(async (tx) => {
      await tx
        .insertInto('runs')
        .values({ ...run, created_at: 1, cancel_requested: 0 })
        .execute()
    })
    await before.close()
    const store = await openSqliteStore(dir)
    expect(await store.read.selectFrom('runs').select(['id', column]).execute()).toEqual([{ id: 'r1', [column]: null }])
    await store.close()
    await expect(openSqliteStore(dir, { migrations: older })).rejects.toMatchObject({ code: 'newer' })
  },
)
