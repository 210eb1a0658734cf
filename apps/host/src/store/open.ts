/** Opens the embedded store of a data folder: lock, database, migrations, group commit. */
import { mkdirSync, rmSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { Kysely } from 'kysely'
import { copyDatabase } from './copy.ts'
import { checkFiles, lockPath, storePath } from './files.ts'
import { groupCommit } from './group.ts'
import { partFiles } from './linked.ts'
import { type HostLock, lockHost } from './lock.ts'
import { migrate, type Migrations } from './migrate.ts'
import { migrations as allMigrations } from './migrations/index.ts'
import type { Tables } from './schema.ts'
import { makeShrinkable, sizeOf, shrinkSlice } from './room.ts'
import { openDatabase, sqliteConnection, sqliteDialect, storeError } from './sqlite.ts'
import type { Store, StoreHealth } from './store.ts'

export interface StoreOptions {
  /** Waits this long for another process's lock on the database before writes fail. Default 5000. */
  busyMs?: number
  migrations?: Migrations
  now?: () => number
  /** Told of each commit: the writes in it, and how long it took in milliseconds. */
  onCommit?: (writes: number, ms: number) => void
  /** Told of the files that another folder had too, as by `cp -al`: this one has its own now. */
  onParted?: (files: readonly string[]) => void
}

/** Blocks the reader's thread at most this long, which happens only while another process repairs or backs up the file. */
const READ_BUSY_MS = 1000

/**
 * Opens `dir`/muster.db, made when absent (folder 0700). Errors: StoreError `held`, `newer`, `migration`, `io`, `full`, `corrupt`.
 */
export async function openSqliteStore(dir: string, options: StoreOptions = {}): Promise<Store> {
  const now = options.now ?? Date.now
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const locks: HostLock[] = [lockHost(lockPath(dir))]
  const path = storePath(dir)
  const open: DatabaseSync[] = []
  const closeAll = (): void => {
    for (const db of open.splice(0).reverse()) db.close()
    for (const lock of locks.splice(0)) lock.release()
  }
  try {
    checkFiles(path)
    const linked = partFiles(dir)
    // Whoever waits at the shared lock is kept out by the first, whoever comes later by the second.
    if (linked.includes(lockPath(dir))) locks.push(ownLock(lockPath(dir)))
    if (linked.length > 0) options.onParted?.(linked)
    const writer = openDatabase({ path, busyMs: 0 })
    open.push(writer)
    const connection = sqliteConnection(writer)
    const db = new Kysely<Tables>({ dialect: sqliteDialect(connection) })
    await migrate(db, { migrations: options.migrations ?? allMigrations, path, raw: writer, now: now() })
    makeShrinkable(writer)
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
        changes: connection.changes,
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
      size: () => sizeOf(writer),
      shrink: () => group.write(async () => shrinkSlice(writer)),
      copyTo: (target, signal) => copyDatabase(path, { target, ...(signal === undefined ? {} : { signal }) }),
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

function ownLock(path: string): HostLock {
  rmSync(path)
  return lockHost(path)
}

function settings(db: DatabaseSync): Record<string, string | number> {
  const value = (sql: string): string | number => Object.values(db.prepare(sql).get() ?? {})[0] as string | number
  return {
    engine: `sqlite ${value('select sqlite_version()')}`,
    journal_mode: value('pragma journal_mode'),
    synchronous: ['off', 'normal', 'full', 'extra'][Number(value('pragma synchronous'))] ?? 'unknown',
  }
}
