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

const { '0001-initial': initial } = migrations

test('a store with live workers is taken over: none of them is kept, and a cordon stays; the older binary then refuses it', async () => {
  if (initial === undefined) throw new Error('there is no first migration')
  const before = await openSqliteStore(dir, { migrations: { '0001-initial': initial } })
  const worker = {
    pool: 'ci',
    provider: 'p',
    phase: 'idle' as const,
    rev: 3,
    spec: '{}',
    shape: 's',
    epoch: 1,
    attempt: 0,
    created_at: 1,
    terminate_force: 0,
    grace_ms: 1,
    uses: 0,
    log_hold: 0,
  }
  await before.write(async (tx) => {
    const rows = [
      { ...worker, id: 'w1', cordoned: 0 },
      { ...worker, id: 'w2', cordoned: 1 },
    ]
    await tx.insertInto('workers').values(rows).execute()
  })
  await before.close()
  const store = await openSqliteStore(dir)
  const columns = ['id', 'rev', 'cordoned', 'cordon_reason', 'kept_until', 'kept_for'] as const
  const none = { cordon_reason: null, kept_until: null, kept_for: null }
  expect(await store.read.selectFrom('workers').select(columns).orderBy('id').execute()).toEqual([
    { id: 'w1', rev: 3, cordoned: 0, ...none },
    { id: 'w2', rev: 3, cordoned: 1, ...none },
  ])
  const wish = { scope: 'pool', name: 'ci', wish: 'paused', reason: '', principal: 'ann', at: 1 }
  await store.write(async (tx) => {
    await tx.insertInto('wishes').values(wish).execute()
  })
  // One wish for each name.
  await expect(store.write((tx) => tx.insertInto('wishes').values(wish).execute())).rejects.toThrow(/UNIQUE/)
  await store.close()
  await expect(openSqliteStore(dir, { migrations: { '0001-initial': initial } })).rejects.toMatchObject({ code: 'newer' })
})
