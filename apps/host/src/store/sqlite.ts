/** A small kysely dialect over `node:sqlite`: one connection, prepared statements kept. */
import { closeSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { StoreError } from './store.ts'

export interface SqliteOptions {
  path: string
  readOnly?: boolean
  /** How long a statement blocks this thread for another process's lock. */
  busyMs: number
}

/** Statements kept per connection: well above the number of different queries, a bound against generated ones. */
const STATEMENTS = 300

/**
 * SQLite itself would make its file readable by all; those it makes beside it have the mode of this one. One that is there is not opened: to
 * close it would end the locks that this process has on it (fcntl(2), F_SETLK).
 */
export function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

export function openDatabase(options: SqliteOptions): DatabaseSync {
  if (options.readOnly !== true) makePrivate(options.path)
  const db = new DatabaseSync(options.path, { readOnly: options.readOnly ?? false, timeout: options.busyMs })
  // FULL: the write-ahead log is fsynced at each commit, so a commit survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
  // auto_vacuum counts for a new file only, and before its first table (sqlite.org/pragma.html#pragma_auto_vacuum).
  if (options.readOnly !== true)
    db.exec(
      'pragma auto_vacuum = incremental; pragma journal_mode = wal; pragma synchronous = full; pragma journal_size_limit = 67108864',
    )
  db.exec('pragma temp_store = memory; pragma cache_size = -16384')
  return db
}

export function sqliteDialect(connection: SqliteConnection): Dialect {
  return {
    // SQLite undoes DDL with its transaction; kysely's adapter does not say so.
    createAdapter: () => Object.defineProperty(new SqliteAdapter(), 'supportsTransactionalDdl', { value: true }),
    createDriver: () => driverOf(connection),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

export interface SqliteConnection extends DatabaseConnection {
  /** Runs a statement without parameters and result, from the same cache. */
  run(sql: string): void
  /** Rows changed since it was opened. */
  changes(): number
}

export function sqliteConnection(db: DatabaseSync): SqliteConnection {
  const cache = new Map<string, { statement: StatementSync; reads: boolean }>()
  const prepare = (sql: string): { statement: StatementSync; reads: boolean } => {
    const kept = cache.get(sql)
    if (kept !== undefined) return kept
    const statement = db.prepare(sql)
    const made = { statement, reads: statement.columns().length > 0 }
    if (cache.size >= STATEMENTS) cache.delete(cache.keys().next().value ?? '')
    cache.set(sql, made)
    return made
  }
  return {
    run: (sql) => {
      prepare(sql).statement.run()
    },
    changes: () => Number(Object.values(prepare('select total_changes()').statement.get() ?? {})[0]),
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      try {
        const { statement, reads } = prepare(query.sql)
        const parameters = query.parameters as SQLInputValue[]
        if (reads) {
          const rows = statement.all(...parameters) as R[]
          return query.query.kind === 'SelectQueryNode' ? { rows } : { rows, numAffectedRows: BigInt(rows.length) }
        }
        const { changes, lastInsertRowid } = statement.run(...parameters)
        return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
      } catch (error) {
        throw storeError(error)
      }
    },
    async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
      // A statement of its own: a kept one may be run again while this one still walks.
      for (const row of db.prepare(query.sql).iterate(...(query.parameters as SQLInputValue[]))) yield { rows: [row as R] }
    },
  }
}

function driverOf(connection: SqliteConnection): Driver {
  const run = async (sql: string): Promise<void> => {
    await connection.executeQuery(CompiledQuery.raw(sql))
  }
  return {
    init: async () => {},
    acquireConnection: async () => connection,
    beginTransaction: () => run('begin immediate'),
    commitTransaction: () => run('commit'),
    // Already undone by the engine itself, as after a full disk: what failed is told, not this.
    rollbackTransaction: () => run('rollback').catch(() => undefined),
    releaseConnection: async () => {},
    destroy: async () => {},
  }
}

/** Result codes of sqlite.org/rescode.html, without the extended part. */
const CODES: Readonly<Record<number, { code: 'busy' | 'full' | 'io' | 'corrupt'; message: string; hint: string }>> = {
  5: { code: 'busy', message: 'the store is locked by another process', hint: 'Close what has the database open.' },
  6: { code: 'busy', message: 'the store is locked', hint: 'Close what has the database open.' },
  8: { code: 'io', message: 'the store cannot be written', hint: "Check the file's rights and the file system." },
  10: { code: 'io', message: 'the disk of the store fails', hint: "Check the disk and the kernel's log." },
  11: { code: 'corrupt', message: "the store's file is damaged", hint: 'Restore it from a backup.' },
  13: { code: 'full', message: 'the disk of the store is full', hint: 'Free room; a daemon that runs goes on by itself.' },
  14: { code: 'io', message: 'the store cannot be opened', hint: 'Check that its folder exists and can be written.' },
  26: { code: 'corrupt', message: "the store's file is not a database", hint: 'Restore it from a backup.' },
}

/** Turns an error of `node:sqlite` that concerns the store as a whole into a StoreError; others pass. */
export function storeError(error: unknown): unknown {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return error
  const known = CODES[error.errcode & 0xff]
  if (known === undefined) return error
  return new StoreError(known.code, `${known.message} (${error.message})`, { hint: known.hint, cause: error })
}
