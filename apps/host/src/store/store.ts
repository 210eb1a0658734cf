/**
 * The store: the one place where Muster's state is. Every change goes through {@link Store.write}, and a promise of `write` that has
 * resolved is on disk. Everything else in the host's memory can be made anew from here.
 */
import type { Kysely } from 'kysely'
import type { Tables } from './schema.ts'

/** What a write may do. Only queries of this object may be awaited inside a write: others wait behind it. */
export type Tx = Pick<Kysely<Tables>, 'selectFrom' | 'insertInto' | 'updateTable' | 'deleteFrom'>
export type Reader = Pick<Kysely<Tables>, 'selectFrom'>

/** Runs right after the commit, before anybody learns of it; not at all when the write failed. Must not throw. */
export type AfterCommit = (run: () => void) => void

export type StoreWork<T> = (tx: Tx, after: AfterCommit) => Promise<T>

export interface Store {
  /**
   * Changes the store. All writes asked for in one turn of the event loop share one transaction and one fsync (group commit); each is
   * whole or absent, and one that throws undoes only itself. They run in the order they were asked for, one at a time: what a write
   * reads through `tx` includes all writes before it.
   * Errors: what `work` throws; {@link StoreError} when the store cannot commit, and then nothing of the write is left.
   */
  write<T>(work: StoreWork<T>): Promise<T>
  /** Reads what is committed. Each query sees one consistent state. */
  readonly read: Reader
  health(): StoreHealth
  /** Told after each change of health. Returns the unsubscriber. */
  onHealth(listener: (health: StoreHealth) => void): () => void
  /** Figures and settings for benchmarks and support: engine, version, journal mode, synchronous, commits, writes. */
  facts(): Record<string, string | number>
  /** What it takes of its disk, and how much of that is free inside it. */
  size(): StoreSize
  /** Gives a slice of its free room back to the disk; false when what is free is not worth it. One write as any other. */
  shrink(): Promise<boolean>
  /**
   * Copies what is committed now, one consistent state, into a new file; writes go on meanwhile. A copy that fails or is aborted leaves
   * nothing. Errors: {@link StoreError} `full`, `io`; the signal's reason.
   */
  copyTo(target: string, signal?: AbortSignal): Promise<void>
  /** Waits for writes under way; later ones fail with `closed`. */
  close(): Promise<void>
}

export interface StoreSize {
  /** Of all its files. */
  bytes: number
  freeBytes: number
}

export interface StoreHealth {
  state: 'ok' | 'full' | 'busy' | 'failed'
  /** Milliseconds since 1970. */
  since: number
  message: string
  hint: string
}

/**
 * held: another daemon has the data folder · busy: another process locks the database · full: no room on the disk · io, corrupt: the
 * disk or the file is broken · restored: whose the workers are has to be said · newer: written by a newer Muster ·
 * overloaded: more writes wait than may · closed
 */
export type StoreErrorCode =
  | 'held'
  | 'busy'
  | 'full'
  | 'io'
  | 'corrupt'
  | 'restored'
  | 'newer'
  | 'seal-key'
  | 'migration'
  | 'overloaded'
  | 'closed'

export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode
  readonly hint: string

  constructor(code: StoreErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint ?? ''
  }
}
