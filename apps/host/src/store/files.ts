/** The files of a database, looked at before SQLite opens them: what it would do with those that do not belong together cannot be undone. */
import { accessSync, constants, statSync } from 'node:fs'
import { basename } from 'node:path'
import { StoreError } from './store.ts'

/** With the lock of the data folder held, which is the file `lock`. Errors: StoreError `corrupt`, `io`; then nothing was changed. */
export function checkFiles(path: string, lock: string): void {
  const log = `${path}-wal`
  // SQLite removes the log of a database that is empty, and with it all that was written last.
  if (sizeOf(path) === 0 && sizeOf(log) > 0)
    throw new StoreError('corrupt', `${basename(log)} is here, and its ${basename(path)} is missing or empty`, {
      hint: `Put ${basename(path)} back beside it. Where it is lost, move ${basename(log)} away and restore a backup: muster restore.`,
    })
  for (const file of [path, log, `${path}-shm`]) if (linksOf(file) > 0) accessible(file)
  alone([path, log, lock])
}

/**
 * Asks whether `path` still leads to the file that it leads to now. What cannot be seen, as while a disk fails, is taken to be as it was. That
 * numbers of files stay is what SQLite counts on for its locks, too (`fileHasMoved` of os_unix.c).
 */
export function placeOf(path: string): () => boolean {
  const { dev, ino } = statSync(path)
  return () => {
    try {
      const now = statSync(path)
      return now.dev === dev && now.ino === ino
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      return code !== 'ENOENT' && code !== 'ENOTDIR'
    }
  }
}

/** A refusal of SQLite does not say which, and leaves files of the same mode. */
function accessible(file: string): void {
  try {
    accessSync(file, constants.R_OK | constants.W_OK)
  } catch (cause) {
    throw new StoreError('io', `the store cannot be written: ${(cause as Error).message}`, {
      hint: `Give this user the right to read and write ${file}.`,
      cause,
    })
  }
}

/**
 * A copy by hard links (`cp -al`) has the same files under other names: what the one writes is in the other, in the database as in logs of runs, and each has
 * a log of the database of its own (sqlite.org/howtocorrupt.html, section 2.5). None of them is opened.
 */
function alone(files: readonly string[]): void {
  const linked = files.filter((file) => linksOf(file) > 1)
  const [first] = linked
  if (first === undefined) return
  const are = linked.length === 1 ? 'is a hard link' : 'are hard links'
  throw new StoreError('corrupt', `${linked.join(' and ')} ${are}: another folder has the same files`, {
    hint: `Nothing was changed. A copy needs files of its own: make it with cp -a. Find the other folder with \`find / -xdev -samefile ${first}\`; once one of the two is removed the other starts.`,
  })
}

/** 0: it is not there. */
function linksOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.nlink ?? 0
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
