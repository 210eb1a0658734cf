/**
 * Brings a store to the form of this version, all steps in one transaction: whole or not at all. Before an existing store is changed, its
 * file is copied beside it, so that the upgrade can be undone.
 */
import { constants, copyFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { Tables } from './schema.ts'
import { syncDirectory, syncFile } from './seal.ts'
import { storeError } from './sqlite.ts'
import { StoreError } from './store.ts'

export type Migrations = Readonly<Record<string, Migration>>

export interface MigrateOptions {
  migrations: Migrations
  /** The database file, which nobody else has open. */
  path: string
  raw: DatabaseSync
  now: number
}

/** Long enough to see that the new version does its work; a copy as large as the store is not kept for ever. */
const COPY_KEPT_MS = 14 * 86_400_000

/** Errors: StoreError `newer`, `migration`, and those of the disk while the copy is made. */
export async function migrate(db: Kysely<Tables>, { migrations, path, raw, now }: MigrateOptions): Promise<void> {
  const done = executed(raw)
  checkKnown(done, migrations, `put the copy that was made before its upgrade, ${basename(path)}.before-…, in its place`)
  for (const { copy, at } of copies(path)) if (now - at > COPY_KEPT_MS) rmSync(copy, { force: true })
  const [first] = Object.keys(migrations)
    .filter((name) => !done.includes(name))
    .sort()
  if (first === undefined) return
  if (done.length > 0) keepCopy(raw, { path, before: first })
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } })
  const { error, results } = await migrator.migrateToLatest()
  if (error === undefined) return
  const known = storeError(error)
  if (known instanceof StoreError) throw known
  const failed = results?.find((result) => result.status === 'Error')?.migrationName ?? 'unknown'
  const text = error instanceof Error ? error.message : 'unknown'
  throw new StoreError('migration', `the store's migration ${failed} failed: ${text}`, {
    hint: 'The store is as it was before: start the version that wrote it.',
    cause: error,
  })
}

/** Throws StoreError `newer` when a store has been through steps that are not among `migrations`. */
export function checkKnown(done: readonly string[], migrations: Migrations, otherwise: string): void {
  const unknown = done.filter((name) => migrations[name] === undefined)
  if (unknown.length === 0) return
  throw new StoreError('newer', `the store was written by a newer Muster: this one does not know its ${unknown.join(', ')}`, {
    hint: `Start that version, or ${otherwise}.`,
  })
}

/** The names of the steps that a store has been through, in order; none for a file that is new. */
export function executed(db: DatabaseSync): string[] {
  const made = db.prepare("select 1 from sqlite_schema where type = 'table' and name = 'kysely_migration'").get()
  if (made === undefined) return []
  return db
    .prepare('select name from kysely_migration order by name')
    .all()
    .map((row) => String(row['name']))
}

/** One copy, of before the last upgrade. */
function keepCopy(db: DatabaseSync, { path, before }: { path: string; before: string }): void {
  // All that was committed is then in the one file.
  db.exec('pragma wal_checkpoint(truncate)')
  const part = `${path}.before.part`
  const target = `${path}.before-${before}`
  try {
    // A file system that shares blocks makes it at once.
    copyFileSync(path, part, constants.COPYFILE_FICLONE)
    syncFile(part)
    renameSync(part, target)
  } catch (error) {
    rmSync(part, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    throw new StoreError(code === 'ENOSPC' ? 'full' : 'io', `the store cannot be copied before its upgrade: ${message}`, {
      hint: `Make room for a second ${basename(path)} on its disk; nothing was changed.`,
      cause: error,
    })
  }
  syncDirectory(dirname(path))
  for (const { copy } of copies(path)) if (copy !== target) rmSync(copy, { force: true })
}

function copies(path: string): { copy: string; at: number }[] {
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(`${basename(path)}.before-`))
    .map((name) => join(dirname(path), name))
    .map((copy) => ({ copy, at: statSync(copy).mtimeMs }))
}
