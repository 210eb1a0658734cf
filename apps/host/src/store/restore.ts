/**
 * Puts a backup into a data folder. All is unpacked and checked beside before anything is moved; what the backup brings takes the place of
 * what was there, which is kept in a folder of its own; the rest (plugins, providers' own files) stays. The next start asks for `--adopt`
 * or `--new-owner`: workers made after the backup are unknown to it.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Manifest, names, readArchive } from './archive.ts'
import { lockHost } from './lock.ts'
import { checkKnown, executed } from './migrate.ts'
import { migrations } from './migrations/index.ts'
import { leap, noteIn, ownerPath, writeNote } from './note.ts'
import { lockPath, storePath } from './files.ts'
import { type RestoredTokens, settleTokens } from './restore-tokens.ts'
import { sealKeyPath, syncDirectory, syncFile } from './seal.ts'
import { fitsKey } from './sealer.ts'
import { storeError } from './sqlite.ts'
import { StoreError } from './store.ts'

export interface RestoreOptions {
  /** The backup. */
  file: string
  /** The data folder; made when it is not there. */
  dir: string
  /** The folder may hold something. */
  force: boolean
  /** The seal key, when the backup has none. */
  keyFile?: string
  /** There is no seal key: what was live when the backup was made is given up. */
  withoutKey: boolean
  onBytes?: (bytes: number) => void
  now?: () => number
}

export interface Restored {
  manifest: Manifest
  /** Where the former files of the folder are; absent when there were none. */
  aside?: string
  key: 'backup' | 'file' | 'folder' | 'none'
  tokens: RestoredTokens
}

/** Nothing was changed. */
class RestoreError extends Error {
  override readonly name = 'RestoreError'
  readonly hint: string

  constructor(message: string, hint: string) {
    super(message)
    this.hint = hint
  }
}

/** Errors: RestoreError, ArchiveError (each with a `hint`), StoreError `held`, `newer`, `corrupt`, those of the file system. After each the folder is as before. */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { file, dir, force, now = Date.now } = options
  if (!existsSync(file)) throw new RestoreError(`there is no file ${file}`, 'Name the one that `muster backup` wrote.')
  const made = !existsSync(dir)
  const there = made ? [] : readdirSync(dir)
  if (there.length > 0 && !force)
    throw new RestoreError(
      `the folder ${dir} is not empty`,
      'Name another with --data, or say --force: what the backup replaces is then kept beside it.',
    )
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const lock = lockHost(lockPath(dir))
  const draft = join(dir, 'restore.part')
  try {
    rmSync(draft, { recursive: true, force: true })
    mkdirSync(draft, { mode: 0o700 })
    const manifest = await readArchive(file, {
      into: draft,
      ...(options.onBytes === undefined ? {} : { onBytes: options.onBytes }),
    })
    const { key, tokens } = prepare({ draft, manifest, options, at: now() })
    chmodSync(dir, 0o700)
    const aside = swap({ dir, draft, manifest, at: now() })
    return { manifest, key, tokens, ...(aside === undefined ? {} : { aside }) }
  } finally {
    rmSync(draft, { recursive: true, force: true })
    lock.release()
    // What was made for a backup that was refused is not left.
    if (!existsSync(storePath(dir))) {
      if (!there.includes(basename(lockPath(dir)))) rmSync(lockPath(dir), { force: true })
      if (made) rmdirSync(dir)
    }
  }
}

interface Draft {
  draft: string
  manifest: Manifest
  at: number
}

/** Checks what was unpacked, and makes it what it is to be. Says where its key is from, and which tokens are good. */
function prepare({ draft, manifest, options, at }: Draft & { options: RestoreOptions }): Pick<Restored, 'key' | 'tokens'> {
  const { dir, keyFile, withoutKey } = options
  const path = join(draft, names.database)
  try {
    using db = new DatabaseSync(path)
    const [state] = Object.values(db.prepare('pragma quick_check(1)').get() ?? {})
    if (state !== 'ok')
      throw new StoreError('corrupt', `the store in the backup is damaged: ${String(state)}`, { hint: 'Take an older backup.' })
    const done = executed(db)
    if (done.join() !== manifest.migrations.join())
      throw new StoreError('corrupt', 'the store in the backup is not of the form that its manifest says', {
        hint: 'Take an older backup.',
      })
    checkKnown(done, migrations, 'restore a backup that this version made')
    const key = withoutKey ? 'none' : takeKey(db, { draft, dir, keyFile })
    db.exec('begin')
    if (key === 'none') giveUp(db, at)
    const tokens = settleTokens(db, { former: formerStore(dir), at })
    db.prepare('insert into journal (at, rule, decision, inputs, change) values (?, ?, ?, ?, ?)').run(
      at,
      'store-restored',
      `the store was put back as it was at ${manifest.at}`,
      JSON.stringify({
        principal: 'local',
        backup: manifest.at,
        version: manifest.version,
        key,
        revoked: tokens.revoked ?? null,
      }),
      '',
    )
    db.exec('commit')
    return { key, tokens }
  } catch (error) {
    throw storeError(error)
  }
}

/** Of a restore that was cut off, it is aside by now; its log follows, without which it lacks what was written last. */
function formerStore(dir: string): string {
  const begun = begunIn(dir)
  if (existsSync(storePath(dir)) || begun === undefined || !existsSync(join(begun, names.database))) return storePath(dir)
  for (const log of [`${names.database}-wal`, `${names.database}-shm`])
    if (existsSync(join(dir, log)) && !existsSync(join(begun, log))) renameSync(join(dir, log), join(begun, log))
  return join(begun, names.database)
}

/** Where a restore that was cut off has put what it replaces. */
function begunIn(dir: string): string | undefined {
  const { restoring } = noteIn(dir) ?? {}
  const begun = restoring === undefined ? undefined : join(dir, basename(restoring))
  return begun !== undefined && existsSync(begun) ? begun : undefined
}

/** The first key there is must be the right one: a wrong one that was named is a mistake, and none is guessed. */
function takeKey(
  db: DatabaseSync,
  { draft, dir, keyFile }: { draft: string; dir: string; keyFile: string | undefined },
): Restored['key'] {
  const mark = db.prepare("select value from meta where key = 'seal-key'").get()?.['value']
  const own = join(draft, names.key)
  const fits = (path: string): boolean => mark === undefined || fitsKey(String(mark), readFileSync(path))
  if (keyFile !== undefined) {
    if (!fits(keyFile)) throw new RestoreError(`${keyFile} is not the seal key of this backup`, 'Name the right one.')
    copyFileSync(keyFile, own)
    chmodSync(own, 0o600)
    syncFile(own)
    return 'file'
  }
  if (existsSync(own)) {
    if (!fits(own))
      throw new RestoreError('the seal key in the backup is not that of its store', 'Name the right one with --key FILE.')
    return 'backup'
  }
  const there = sealKeyPath(dir)
  if (existsSync(there) && fits(there)) return 'folder'
  throw new RestoreError(
    'the backup has no seal key, and the folder does not have the right one',
    'Name it with --key FILE (seal.key of the data folder that the backup is from), or say --without-key: what was live then ends.',
  )
}

/** Nothing sealed can be opened: what was live ends, its workers are terminated by the next daemon, and a new key begins. */
function giveUp(db: DatabaseSync, at: number): void {
  const reason = 'the store was restored without its seal key'
  db.prepare(
    `update workers set phase = 'terminating', rev = rev + 1, terminate_reason = ?, lease_id = null, idle_since = null, log_hold = 0,
     attempt = 0, next_attempt_at = null, spec_sealed = null where ended_at is null`,
  ).run(reason)
  db.prepare(
    `update leases set state = 'ended', rev = rev + 1, "end" = 'lost', end_reason = ?, ended_at = ?, request_sealed = null where ended_at is null`,
  ).run(reason, at)
  db.prepare(
    `update runs set state = 'ended', rev = rev + 1, outcome = 'unknown', reason = ?, ended_at = ?, request_sealed = null where ended_at is null`,
  ).run(reason, at)
  db.exec("delete from idempotency; delete from meta where key = 'seal-key'")
}

/**
 * Moves the former files aside and the new ones in. Cut off anywhere, the note in the folder says so: a start is refused, and the restore can be
 * made again. That one goes on where the first was: what is aside already is the former, and what took its place goes into a folder of its own.
 */
function swap({ dir, draft, manifest, at }: Draft & { dir: string }): string | undefined {
  const database = storePath(dir)
  const stamp = new Date(at).toISOString().replaceAll(/[:.]/g, '-')
  const begun = begunIn(dir)
  const aside = begun ?? join(dir, `before-restore-${stamp}`)
  const placeFor = (name: string): string =>
    begun !== undefined && existsSync(join(begun, name)) ? join(begun, `of-restore-cut-off-${stamp}`) : aside
  const keep = (
    name: string,
    { into = placeFor(name), how = renameSync }: { into?: string; how?: typeof renameSync } = {},
  ): void => {
    const path = join(dir, name)
    if (!existsSync(path)) return
    mkdirSync(into, { recursive: true, mode: 0o700 })
    how(path, join(into, name))
  }
  const brings = [names.key, names.runs].filter((name) => existsSync(join(draft, name)))
  if (begun === undefined) keep('owner.json', { how: copyFileSync })
  const { restoring: _under, ...note } = leap(ownerPath(dir), manifest, { restoring: basename(aside) })
  // The log goes after its database: without that it is nothing, while a database without its log lacks what was written last.
  const into = existsSync(database) ? placeFor(names.database) : aside
  for (const suffix of ['', '-wal', '-shm']) keep(`${names.database}${suffix}`, { into })
  for (const name of brings) {
    keep(name)
    renameSync(join(draft, name), join(dir, name))
  }
  syncDirectory(dir)
  renameSync(join(draft, names.database), database)
  syncDirectory(dir)
  writeNote(ownerPath(dir), note)
  return existsSync(aside) ? aside : undefined
}
