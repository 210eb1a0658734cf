/** Folders of the content store that the store of a data folder needs, read beside a daemon that may run. */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { storePath } from './open.ts'

/** Of versions of plugins that live workers belong to. Throws when the store cannot be read: then nobody knows. */
export function keptContents(dataDir: string): string[] {
  const path = storePath(dataDir)
  if (!existsSync(path)) return []
  using db = new DatabaseSync(path, { readOnly: true })
  // One of before has no such table, and keeps none.
  if (db.prepare("select 1 from sqlite_schema where name = 'kept_plugins'").get() === undefined) return []
  return db
    .prepare('select content from kept_plugins')
    .all()
    .map((row) => String(row['content']))
}
