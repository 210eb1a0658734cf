/** The room that a database takes on its disk, and giving back what it no longer needs. */
import type { DatabaseSync } from 'node:sqlite'
import { statSync } from 'node:fs'
import type { StoreSize } from './store.ts'

/** Free pages are used again by what comes next: only a share that the usual ups and downs do not explain is given back. */
const WORTH_SHARE = 0.25
const WORTH_BYTES = 16 * 2 ** 20
/** Of one write: some milliseconds. Each page given back is one page moved. */
const SLICE_PAGES = 1000
/** Written anew at a start in about a second. A larger one of an older version stays as it is: its free room is used again. */
const REWRITE_BYTES = 256 * 2 ** 20

export function sizeOf(db: DatabaseSync): StoreSize {
  const path = db.location() ?? ''
  const bytes = ['', '-wal', '-shm'].reduce((sum, suffix) => sum + fileSize(`${path}${suffix}`), 0)
  return { bytes, freeBytes: pragma(db, 'freelist_count') * pragma(db, 'page_size') }
}

/** Gives some free pages back to the disk, within a transaction; false when there is nothing worth it. */
export function shrinkSlice(db: DatabaseSync): boolean {
  if (pragma(db, 'auto_vacuum') !== INCREMENTAL || !isWorth(db)) return false
  db.exec(`pragma incremental_vacuum(${SLICE_PAGES})`)
  return isWorth(db)
}

/** A small store that was made before files could shrink is written anew, once. */
export function makeShrinkable(db: DatabaseSync): void {
  if (pragma(db, 'auto_vacuum') === INCREMENTAL || pragma(db, 'page_count') * pragma(db, 'page_size') > REWRITE_BYTES) return
  db.exec('pragma auto_vacuum = incremental; vacuum')
}

const INCREMENTAL = 2

function isWorth(db: DatabaseSync): boolean {
  const free = pragma(db, 'freelist_count')
  return free * pragma(db, 'page_size') > WORTH_BYTES && free > WORTH_SHARE * pragma(db, 'page_count')
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(Object.values(db.prepare(`pragma ${name}`).get() ?? {})[0])
}

function fileSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
