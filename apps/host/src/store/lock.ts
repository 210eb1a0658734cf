/**
 * The lock of a data folder: one daemon at a time. A small SQLite file whose write lock is held for life; the kernel frees it with the
 * process, however that ends, so there is no stale lock and no pid to guess about.
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
}

export interface HostLock {
  release(): void
}

/** Takes the lock at `path`, or throws StoreError `held` that names the holder. Never waits. */
export function lockHost(path: string): HostLock {
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
    db.exec('commit; begin immediate')
  } catch (error) {
    const reason = storeError(error)
    const holder = reason instanceof StoreError && reason.code === 'busy' ? readHolder(path) : undefined
    db?.close()
    if (!(reason instanceof StoreError) || reason.code !== 'busy') throw reason
    const who =
      holder === undefined
        ? 'another process'
        : `process ${holder.pid} on ${holder.host}, since ${new Date(holder.since).toISOString()}`
    throw new StoreError('held', `the data folder is in use by ${who}`, {
      hint: 'Stop that daemon, or give this one a data folder of its own.',
      cause: error,
    })
  }
  const held = db
  return { release: () => held.close() }
}

/** Who holds, or last held, the lock; undefined when that cannot be read. */
function readHolder(path: string): Holder | undefined {
  try {
    using db = new DatabaseSync(path, { readOnly: true, timeout: 100 })
    const row = db.prepare('select pid, host, since from holder').get()
    return row === undefined ? undefined : (row as unknown as Holder)
  } catch {
    return undefined
  }
}
