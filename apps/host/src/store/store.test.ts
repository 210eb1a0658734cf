import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSqliteStore } from './open.ts'
import { storeError } from './sqlite.ts'
import type { Store, StoreError, Tx } from './store.ts'

let dir: string
let store: Store | undefined

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-store-'))
})
afterEach(async () => {
  await store?.close()
  store = undefined
  rmSync(dir, { recursive: true, force: true })
})

const put =
  (key: string, value = 'v') =>
  async (tx: Tx) => {
    await tx.insertInto('meta').values({ key, value }).execute()
    return key
  }
const keys = async (from: Store): Promise<string[]> =>
  (await from.read.selectFrom('meta').select('key').orderBy('key').execute()).map((row) => row.key)

test('writes of one turn share a commit; one that throws undoes only itself', async () => {
  store = await openSqliteStore(dir)
  const before = Number(store.facts()['commits'])
  const order: string[] = []
  const results = await Promise.allSettled([
    store.write(put('a')),
    store.write(async (tx, after) => {
      await put('b')(tx)
      after(() => order.push('never'))
      throw new Error('mine')
    }),
    store
      .write(async (tx, after) => {
        after(() => order.push('after'))
        expect(await tx.selectFrom('meta').select('key').execute()).toHaveLength(1)
        return put('c')(tx)
      })
      .then((key) => order.push(key)),
  ])
  expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(await keys(store)).toEqual(['a', 'c'])
  expect(order).toEqual(['after', 'c'])
  expect(Number(store.facts()['commits']) - before).toBe(1)
  expect(store.facts()).toMatchObject({ journal_mode: 'wal', synchronous: 'full' })
})

test('a reader sees nothing of an open write', async () => {
  const opened = (store = await openSqliteStore(dir))
  await opened.write(async (tx) => {
    await put('a')(tx)
    expect(await keys(opened)).toEqual([])
  })
  expect(await keys(opened)).toEqual(['a'])
})

test('what was written is there after it is opened again, and the folder and its files are closed to others', async () => {
  store = await openSqliteStore(join(dir, 'data'))
  await store.write(put('a'))
  await store.close()
  expect(statSync(join(dir, 'data')).mode & 0o777).toBe(0o700)
  for (const name of readdirSync(join(dir, 'data')))
    expect([name, statSync(join(dir, 'data', name)).mode & 0o777]).toEqual([name, 0o600])
  store = await openSqliteStore(join(dir, 'data'))
  expect(await keys(store)).toEqual(['a'])
})

test('a second daemon on the same folder is refused and told who holds it', async () => {
  store = await openSqliteStore(dir)
  const second = await openSqliteStore(dir).catch((error: unknown) => error)
  expect(second).toMatchObject({ name: 'StoreError', code: 'held' })
  expect(String(second)).toContain(`process ${process.pid}`)
  await store.close()
  store = await openSqliteStore(dir)
})

test('a store locked by another process: a clear error, nothing half written, and it goes on', async () => {
  store = await openSqliteStore(dir, { busyMs: 60 })
  const states: string[] = []
  store.onHealth((health) => states.push(health.state))
  const other = new DatabaseSync(join(dir, 'muster.db'))
  other.exec('begin immediate')
  await expect(store.write(put('a'))).rejects.toMatchObject({ code: 'busy', hint: expect.stringContaining('Close') })
  expect(store.health().state).toBe('busy')
  const well = new Promise<void>((resolve) => store?.onHealth((health) => health.state === 'ok' && resolve()))
  other.exec('commit')
  other.close()
  await well
  await store.write(put('b'))
  expect(states).toEqual(['busy', 'ok'])
  expect(await keys(store)).toEqual(['b', 'probe'])
})

test('no room for the database: the whole group fails, the store recovers', async () => {
  store = await openSqliteStore(dir)
  await store.write(put('a'))
  const full = storeError(Object.assign(new Error('database or disk is full'), { errcode: 13 }))
  const results = await Promise.allSettled([store.write(put('b')), store.write(() => Promise.reject(full))])
  expect(results.map((result) => (result.status === 'rejected' ? (result.reason as StoreError).code : 'done'))).toEqual([
    'full',
    'full',
  ])
  expect(store.health()).toMatchObject({ state: 'full', message: expect.stringContaining('full') })
  await store.write(put('c'))
  expect(store.health().state).toBe('ok')
  expect(await keys(store)).toEqual(['a', 'c'])
})

test('a store of a newer version and a failing migration are refused by name', async () => {
  const up = async (): Promise<void> => {}
  const { migrations } = await import('./migrations/index.ts')
  const newer = await openSqliteStore(dir, { migrations: { ...migrations, '9999-later': { up } } })
  await newer.close()
  await expect(openSqliteStore(dir)).rejects.toMatchObject({ code: 'newer' })
  const broken = { ...migrations, '0002-broken': { up: () => Promise.reject(new Error('no')) } }
  await expect(openSqliteStore(join(dir, 'two'), { migrations: broken })).rejects.toMatchObject({ code: 'migration' })
  store = await openSqliteStore(join(dir, 'two'))
})

test('a closed store refuses writes', async () => {
  const closing = await openSqliteStore(dir)
  const last = closing.write(put('a'))
  await closing.close()
  await expect(last).resolves.toBe('a')
  await expect(closing.write(put('b'))).rejects.toMatchObject({ code: 'closed' })
})

test('every table is strict: a wrong type is an error, not a conversion', async () => {
  store = await openSqliteStore(dir)
  const wrong = store.write((tx) =>
    tx
      .insertInto('term')
      .values({ id: 2, holder: 'h', epoch: 'one' as never, expires_at: 0 })
      .execute(),
  )
  await expect(wrong).rejects.toThrow(/cannot store TEXT/)
})
