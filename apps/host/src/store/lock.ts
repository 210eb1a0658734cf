/**
 * A lock of one process at a time, such as that of a data folder. A small SQLite file whose write lock is held for life; the kernel frees it
 * with the process, however that ends, so there is no stale lock and no pid to guess about.
 */
import { DatabaseSync } from 'node:sqlite'
import { hostname } from 'node:os'
import { makePrivate, storeError } from './sqlite.ts'
import { StoreError } from './store.ts'

export interface Holder {
  pid: number
  host: string
  /** Milliseconds since 1970. */
  since: number
  /** What it is doing, where it says so. */
  doing?: string
}

export interface HostLock {
  release(): void
}

/** Takes the lock at `path`, or throws StoreError `held` that names the holder. Never waits. */
export function lockHost(path: string): HostLock {
  const taken = takeLock(path)
  if ('release' in taken) return taken
  const { holder, cause } = taken
  throw new StoreError('held', `the data folder is in use by ${named(holder)}`, {
    hint: 'Stop that daemon, or give this one a data folder of its own.',
    cause,
  })
}

/** As messages name it. */
export function named(holder: Holder | 'unknown' | undefined): string {
  return holder === undefined || holder === 'unknown'
    ? 'another process'
    : `process ${holder.pid} on ${holder.host}, since ${new Date(holder.since).toISOString()}`
}

/**
 * Takes the lock at `path`, or says who has it. Never waits. The locks of the kernel are the process's, not the connection's: nothing of this
 * process but SQLite may open and close the file meanwhile (sqlite.org/howtocorrupt.html, section 2.2). Error: StoreError.
 */
export function takeLock(path: string, doing?: string): HostLock | { holder: Holder | undefined; cause: unknown } {
  let db: DatabaseSync | undefined
  try {
    makePrivate(path)
    db = new DatabaseSync(path, { timeout: 0 })
    // A RESERVED lock keeps out other writers, while a refused daemon can still read who holds it.
    db.exec('pragma journal_mode = delete; begin immediate')
    db.exec(
      'create table if not exists holder (pid integer not null, host text not null, since integer not null) strict; delete from holder',
    )
    db.prepare('insert into holder values (?, ?, ?)').run(process.pid, hostname(), Date.now())
    // A table of its own: that of data folders is as former daemons know it.
    db.exec('create table if not exists doing (what text not null) strict; delete from doing')
    if (doing !== undefined) db.prepare('insert into doing values (?)').run(doing)
    db.exec('commit; begin immediate')
  } catch (error) {
    const reason = storeError(error)
    const isHeld = reason instanceof StoreError && reason.code === 'busy'
    const holder = isHeld ? readHolder(path) : undefined
    db?.close()
    if (!isHeld) throw unusable(path, reason)
    return { holder, cause: error }
  }
  const held = db
  return { release: () => held.close() }
}

/** It is no store, and nothing is lost with it. */
function unusable(path: string, reason: unknown): unknown {
  if (!(reason instanceof StoreError) || !(reason.code === 'corrupt' || reason.code === 'io')) return reason
  const { code, cause } = reason
  const text = cause instanceof Error ? cause.message : ''
  return code === 'corrupt'
    ? new StoreError(code, `the lock file ${path} is damaged (${text})`, {
        hint: 'Nothing is kept in it. Where no other process uses it, remove it and try again.',
        cause,
      })
    : new StoreError(code, `the lock file ${path} cannot be written (${text})`, {
        hint: "Check the file's rights, and those of its folder and its file system.",
        cause,
      })
}

/** Who holds, or last held, the lock; undefined when that cannot be read. */
function readHolder(path: string): Holder | undefined {
  try {
    using db = new DatabaseSync(path, { readOnly: true, timeout: 100 })
    const row = db.prepare('select pid, host, since from holder').get()
    return row === undefined ? undefined : { ...(row as unknown as Holder), ...doingOf(db) }
  } catch {
    return undefined
  }
}

/** A former daemon does not say it. */
function doingOf(db: DatabaseSync): Pick<Holder, 'doing'> {
  if (db.prepare("select name from sqlite_schema where name = 'doing'").get() === undefined) return {}
  const said = db.prepare('select what from doing').get()
  return said === undefined ? {} : { doing: said['what'] as string }
}
