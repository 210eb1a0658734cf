/** What a data folder knows of itself outside its store: whose it is, and what became of it. */
import { closeSync, fchownSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { storePath } from './files.ts'
import { syncDirectory } from './seal.ts'
import { StoreError } from './store.ts'

export interface Note {
  owner: string
  /** The one last used. */
  epoch: number
  /** Where it was at work then, without links. */
  home?: string
  /** The number of the folder there. */
  folder?: string
  /** The copy that goes on in its place since. */
  heir?: string
  /** The folder in it that has what a restore replaces; as long as that is under way. */
  restoring?: string
}

/** Keys that a later host adds are passed over. */
const schema: z.ZodType<Note> = z.object({
  owner: z.string(),
  epoch: z.int(),
  home: z.string().exactOptional(),
  folder: z.string().exactOptional(),
  heir: z.string().exactOptional(),
  restoring: z.string().exactOptional(),
})

export function ownerPath(dir: string): string {
  return join(dir, 'owner.json')
}

/** Undefined: there is none. Errors: StoreError `corrupt`, those of the file system. */
export function readNote(path: string): Note | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new StoreError('corrupt', 'owner.json in the data folder cannot be read', {
      hint: 'Restore the file, or remove it and start with --adopt or --new-owner.',
      cause,
    })
  }
}

/** As {@link readNote}; undefined also where it is damaged. */
export function noteIn(dir: string): Note | undefined {
  try {
    return readNote(ownerPath(dir))
  } catch (error) {
    if (error instanceof StoreError) return undefined
    throw error
  }
}

/** Under root it stays the file of the user whose daemon works in that folder: a copy that root starts lays the original of another user to rest. */
export function writeNote(path: string, note: Note): void {
  const part = `${path}.part`
  const before = statSync(path, { throwIfNoEntry: false }) ?? statSync(storePath(join(path, '..')), { throwIfNoEntry: false })
  // Made anew: a link of that name would lead elsewhere.
  rmSync(part, { force: true })
  const file = openSync(part, 'wx', 0o600)
  try {
    if (before !== undefined && process.geteuid?.() === 0) give(file, before)
    writeSync(file, `${JSON.stringify(note)}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(part, path)
  syncDirectory(join(path, '..'))
}

function give(file: number, { uid, gid }: { uid: number; gid: number }): void {
  try {
    fchownSync(file, uid, gid)
  } catch (error) {
    // A root that may not, as in some containers, has it as its own.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
  }
}

/** A start takes one epoch. More starts than any deployment makes between a backup and its restore, where nobody knows how many. */
const LEAP = 1000

/**
 * Notes that a store of this owner was put back, or goes on elsewhere: its next start asks what to do, and its epochs go on above those used since.
 * Returns what it noted.
 */
export function leap(path: string, put: { owner: string; epoch: number }, why: Pick<Note, 'heir' | 'restoring'> = {}): Note {
  const before = noteIn(join(path, '..'))
  const last = Math.max(put.epoch, before?.owner === put.owner ? before.epoch : 0)
  const home = before?.home === undefined ? {} : { home: before.home }
  const folder = before?.folder === undefined ? {} : { folder: before.folder }
  // A copy that went on works on, whatever is put back here.
  const heir = before?.owner !== put.owner || before.heir === undefined ? {} : { heir: before.heir }
  const note = { owner: put.owner, epoch: last + LEAP, ...home, ...folder, ...heir, ...why }
  writeNote(path, note)
  return note
}

/**
 * Before a store is opened, which makes one where there is none. Errors: StoreError `restored` when the folder has lost its store and nobody says whose
 * the workers are, or when a restore into it was cut off.
 */
export function checkFolder(dir: string, restore: string | undefined): void {
  const note = noteIn(dir)
  if (note === undefined) return
  if (note.restoring !== undefined)
    throw new StoreError('restored', 'a restore into the data folder was cut off', {
      hint: `Make it again: muster restore FILE --force. Or go back: move all that is in ${note.restoring} into the data folder again, owner.json last.`,
    })
  const database = storePath(dir)
  if (restore !== undefined || (statSync(database, { throwIfNoEntry: false })?.size ?? 0) > 0) return
  throw new StoreError('restored', `the data folder has lost its store: ${basename(database)} is missing or empty`, {
    hint: 'Put it back, or restore a backup: muster restore. Only to begin with an empty store start with --adopt if no other daemon uses this owner (all earlier workers are then removed as orphans, leased ones too), or with --new-owner to leave them alone.',
  })
}
