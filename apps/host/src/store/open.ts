/** Opens the embedded store of a data folder: lock, database, migrations, group commit. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { groupCommit } from './group.ts'
import { lockHost } from './lock.ts'
import { migrations as allMigrations } from './migrations/index.ts'
import type { Tables } from './schema.ts'
import { openDatabase, sqliteConnection, sqliteDialect, storeError } from './sqlite.ts'
import { type Store, StoreError, type StoreHealth } from './store.ts'

export interface StoreOptions {
  /** Waits this long for another process's lock on the database before writes fail. Default 5000. */
  busyMs?: number
  migrations?: Readonly<Record<string, Migration>>
  now?: () => number
  /** Told of each commit: the writes in it, and how long it took in milliseconds. */
  onCommit?: (writes: number, ms: number) => void
}

/** Blocks the reader's thread at most this long, which happens only while another process repairs or backs up the file. */
const READ_BUSY_MS = 1000

/**
 * Opens `dir`/muster.db, made when absent (folder 0700). Errors: StoreError `held`, `newer`, `migration`, `io`, `full`, `corrupt`.
 */
export async function openSqliteStore(dir: string, options: StoreOptions = {}): Promise<Store> {
  const now = options.now ?? Date.now
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const lock = lockHost(join(dir, 'host.lock'))
  const path = join(dir, 'muster.db')
  const open: DatabaseSync[] = []
  const closeAll = (): void => {
    for (const db of open.splice(0).reverse()) db.close()
    lock.release()
  }
  try {
    const writer = openDatabase({ path, busyMs: 0 })
    open.push(writer)
    const connection = sqliteConnection(writer)
    const db = new Kysely<Tables>({ dialect: sqliteDialect(connection) })
    await migrate(db, options.migrations ?? allMigrations)
    const reader = openDatabase({ path, readOnly: true, busyMs: READ_BUSY_MS })
    open.push(reader)
    const read = new Kysely<Tables>({ dialect: sqliteDialect(sqliteConnection(reader)) })

    let health: StoreHealth = { state: 'ok', since: now(), message: '', hint: '' }
    const listeners = new Set<(health: StoreHealth) => void>()
    const group = groupCommit({
      connection: {
        run: (sql) => {
          try {
            connection.run(sql)
          } catch (error) {
            throw storeError(error)
          }
        },
      },
      tx: db,
      busyMs: options.busyMs ?? 5000,
      now,
      ...(options.onCommit === undefined ? {} : { onCommit: options.onCommit }),
      onHealth: (changed) => {
        health = changed
        for (const listener of listeners) listener(changed)
      },
    })
    return {
      write: group.write,
      read,
      health: () => health,
      onHealth: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      facts: () => ({ ...settings(writer), ...group.stats() }),
      close: async () => {
        await group.close()
        closeAll()
      },
    }
  } catch (error) {
    closeAll()
    throw storeError(error)
  }
}

async function migrate(db: Kysely<Tables>, migrations: Readonly<Record<string, Migration>>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } })
  const { error, results } = await migrator.migrateToLatest()
  if (error === undefined) return
  if (error instanceof StoreError) throw error
  const text = error instanceof Error ? error.message : 'unknown'
  if (text.includes('previously executed migration'))
    throw new StoreError('newer', 'the store was written by a newer Muster', {
      hint: 'Start that version, or restore a backup made by this one.',
      cause: error,
    })
  const failed = results?.find((result) => result.status === 'Error')?.migrationName ?? 'unknown'
  throw new StoreError('migration', `the store's migration ${failed} failed: ${text}`, { cause: error })
}

function settings(db: DatabaseSync): Record<string, string | number> {
  const value = (sql: string): string | number => Object.values(db.prepare(sql).get() ?? {})[0] as string | number
  return {
    engine: `sqlite ${value('select sqlite_version()')}`,
    journal_mode: value('pragma journal_mode'),
    synchronous: ['off', 'normal', 'full', 'extra'][Number(value('pragma synchronous'))] ?? 'unknown',
  }
}
