/**
 * Copies of a data folder by hard links (`cp -al`, as some snapshot tools make them) have the same files under other names: what the one writes is in the
 * other, in the store as in logs of runs, and each has a log of the database of its own (sqlite.org/howtocorrupt.html, section 2.5). The original gets
 * files of its own, at its start; a copy is not opened.
 */
import { chownSync, constants, copyFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { linksOf, lockPath, storePath } from './files.ts'
import { folderOf, homeOf } from './home.ts'
import { noteIn } from './note.ts'
import { syncDirectory, syncFile, sealKeyPath } from './seal.ts'
import { StoreError } from './store.ts'

export const partedWarning =
  'another folder had these files too, by hard links (cp -al): this one has its own now. The other keeps what was written until now, and no daemon starts on it: remove it, or copy it with cp -a'

/**
 * With the lock of the folder held, and before the store is opened. Returns what was linked, the lock among it: only whoever holds it can give it a file of its own.
 * The other folder keeps what was written until now, and its key stays a link: it is known as a copy by that. Errors: StoreError `corrupt` of a copy,
 * `full`, `io`; then the other folder is as it was, and this one starts as soon as that is mended.
 */
export function partFiles(dir: string): readonly string[] {
  const path = storePath(dir)
  const log = `${path}-wal`
  const index = `${path}-shm`
  const linked = [path, log, index, lockPath(dir)].filter(isLinked)
  const note = noteIn(dir)
  // Only where it was at work last, and only the same folder: a copy under the path of its original, as in another container, has another number.
  if (note?.home !== homeOf(dir) || note.folder !== folderOf(dir)) {
    // Former versions noted no folder, and gave none files of its own.
    const all = note?.folder === undefined ? linked : [...linked, sealKeyPath(dir)].filter(isLinked)
    if (all.length > 0) throw refused(all)
  }
  // Of a start that was cut off: the other folder may be gone since.
  for (const file of [log, path]) rmSync(partOf(file), { force: true })
  // SQLite makes the index anew. The store comes last: as long as it is linked, neither folder is taken for one that has files of its own.
  if (linked.includes(index)) rmSync(index)
  for (const file of [log, path]) if (linked.includes(file)) partFile(file)
  return linked
}

function isLinked(file: string): boolean {
  return linksOf(file) > 1
}

function partOf(file: string): string {
  return `${file}.own.part`
}

function partFile(file: string): void {
  const part = partOf(file)
  try {
    copyFileSync(file, part, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    const { uid, gid } = statSync(file)
    if (process.geteuid?.() === 0) chownSync(part, uid, gid)
    syncFile(part)
    renameSync(part, file)
  } catch (error) {
    rmSync(part, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    throw new StoreError(
      code === 'ENOSPC' || code === 'EDQUOT' ? 'full' : 'io',
      `${basename(file)} is a hard link, and cannot be given a file of its own: ${message}`,
      { hint: `Make room for a second one on its disk, or remove the other folder that has it: ${finding(file)}.`, cause: error },
    )
  }
  syncDirectory(dirname(file))
}

function refused(linked: readonly string[]): StoreError {
  const are = linked.length === 1 ? 'is a hard link' : 'are hard links'
  return new StoreError('corrupt', `${linked.join(' and ')} ${are}: another folder has the same files`, {
    hint: `Nothing was changed. This folder is not started before it has files of its own: make a copy of it with cp -a, and start that. Find the other folder with ${finding(linked[0] ?? '')}; once that is removed, this one starts.`,
  })
}

function finding(file: string): string {
  return `\`find / -xdev -samefile ${file}\``
}
