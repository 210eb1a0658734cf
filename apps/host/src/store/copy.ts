/** A copy of a database while it is written to. */
import { rmSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { makePrivate, storeError } from './sqlite.ts'
import { syncFile } from './seal.ts'

/** Pages of one step, in a thread of its own: some 4 MB. Between two of them an abort is seen. */
const STEP_PAGES = 1000

/**
 * Copies one consistent state of the database at `path` into the new file `target`, page by page. A read transaction holds that state:
 * without it, SQLite would begin anew after each write of another connection (sqlite.org/backup.html).
 */
export async function copyDatabase(path: string, { target, signal }: { target: string; signal?: AbortSignal }): Promise<void> {
  signal?.throwIfAborted()
  makePrivate(target)
  const source = new DatabaseSync(path, { readOnly: true, timeout: 1000 })
  try {
    source.exec('begin')
    source.prepare('select count(*) from sqlite_schema').get()
    await backup(source, target, { rate: STEP_PAGES, progress: () => signal?.throwIfAborted() })
    // The copy is one file that needs no log beside it.
    using copy = new DatabaseSync(target)
    copy.exec('pragma journal_mode = delete')
    syncFile(target)
  } catch (error) {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${target}${suffix}`, { force: true })
    throw storeError(error)
  } finally {
    source.close()
  }
}
