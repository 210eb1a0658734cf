/** The files of a database, looked at before SQLite opens them: what it would do with those that do not belong together cannot be undone. */
import { accessSync, constants, copyFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { syncDirectory, syncFile } from './seal.ts'
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
  disentangle(path, lock)
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
 * A copy by hard links (`cp -al`) is the same database under two names, each with a log of its own (sqlite.org/howtocorrupt.html, section 2.5): what one
 * writes is in the other. It gets files of its own. The lock of such a copy is that of its original, so that nobody is at work there.
 */
function disentangle(path: string, lock: string): void {
  const files = [path, `${path}-wal`].filter((file) => linksOf(file) > 1)
  if (files.length > 0 && linksOf(lock) < 2)
    throw new StoreError('corrupt', `${files.join(' and ')} is a hard link: another folder has the same file`, {
      hint: 'Stop whoever works there, and give this folder a copy of its own: cp FILE x && mv x FILE.',
    })
  for (const file of files) {
    const part = `${file}.own.part`
    rmSync(part, { force: true })
    copyFileSync(file, part, constants.COPYFILE_FICLONE)
    syncFile(part)
    renameSync(part, file)
  }
  // It is only what SQLite remembers of the log.
  if (linksOf(`${path}-shm`) > 1) rmSync(`${path}-shm`)
  if (files.length > 0) syncDirectory(dirname(path))
}

/** 0: it is not there. */
function linksOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.nlink ?? 0
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
