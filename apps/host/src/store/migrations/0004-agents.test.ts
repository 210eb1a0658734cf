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

test('workers of before run no agent; the older binary then refuses the store', async () => {
  const older = Object.fromEntries(Object.entries(migrations).filter(([name]) => name < '0004-agents'))
  const before = await openSqliteStore(dir, { migrations: older })
  await before.write(async (tx) => {
    const worker = { id: 'w1', pool: 'ci', provider: 'p', phase: 'idle' as const, rev: 3, spec: '{}', shape: 's', epoch: 1 }
    const counts = { attempt: 0, created_at: 1, terminate_force: 0, grace_ms: 1, uses: 0, log_hold: 0, cordoned: 0 }
    await tx
      .insertInto('workers')
      .values({ ...worker, ...counts })
      .execute()
  })
  await before.close()
  const store = await openSqliteStore(dir)
  expect(await store.read.selectFrom('workers').select(['id', 'ticket_hash', 'session_hash', 'agent_at']).execute()).toEqual([
    { id: 'w1', ticket_hash: null, session_hash: null, agent_at: null },
  ])
  await store.close()
  await expect(openSqliteStore(dir, { migrations: older })).rejects.toMatchObject({ code: 'newer' })
})
