/** The files of a database, looked at before SQLite opens them: what it would do with those that do not belong together cannot be undone. */
import { accessSync, constants, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { StoreError } from './store.ts'

export function storePath(dir: string): string {
  return join(dir, 'muster.db')
}

export function lockPath(dir: string): string {
  return join(dir, 'host.lock')
}

/** With the lock of the data folder held. Errors: StoreError `corrupt`, `io`; then nothing was changed. */
export function checkFiles(path: string): void {
  const log = `${path}-wal`
  // SQLite removes the log of a database that is empty, and with it all that was written last.
  if (sizeOf(path) === 0 && sizeOf(log) > 0)
    throw new StoreError('corrupt', `${basename(log)} is here, and its ${basename(path)} is missing or empty`, {
      hint: `Put ${basename(path)} back beside it. Where it is lost, move ${basename(log)} away and restore a backup: muster restore.`,
    })
  for (const file of [path, log, `${path}-shm`]) if (linksOf(file) > 0) accessible(file)
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

/** 0: it is not there. */
export function linksOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.nlink ?? 0
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
