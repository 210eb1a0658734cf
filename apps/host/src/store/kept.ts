/** What the store of a data folder needs of plugins, read beside a daemon that may run. */
import { existsSync } from 'node:fs'
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite'
import { storePath } from './files.ts'

/** Folders of the content store, of plugins that providers were configured with last, and of versions that live workers belong to. Throws when the store cannot be read: then nobody knows. */
export function keptContents(dataDir: string): string[] {
  const noted = "select json_extract(value, '$.content') as content from meta where key like 'provider:%'"
  const rows = asked(dataDir, `select content from kept_plugins union ${noted}`)
  return rows.flatMap(({ content }) => (content === null ? [] : [String(content)]))
}

/** A version that is kept, and its live workers. */
export interface KeptHere {
  provider: string
  version: string
  /** Digest of its files. */
  tree: string
  workers: string[]
}

/** The same with whose they are. */
export function keptHere(dataDir: string): KeptHere[] {
  const rows = asked(
    dataDir,
    `select kept.provider, kept.version, kept.tree, workers.id from kept_plugins kept left join workers on
      workers.provider = kept.provider and workers.plugin_version = kept.version and workers.ended_at is null
      order by kept.provider, workers.id`,
  )
  return [...Map.groupBy(rows, (row) => String(row['provider']))].map(([provider, ofProvider]) => ({
    provider,
    version: String(ofProvider[0]?.['version']),
    tree: String(ofProvider[0]?.['tree']),
    workers: ofProvider.flatMap(({ id }) => (id === null ? [] : [String(id)])),
  }))
}

function asked(dataDir: string, query: string): Record<string, SQLOutputValue>[] {
  const path = storePath(dataDir)
  if (!existsSync(path)) return []
  using db = new DatabaseSync(path, { readOnly: true })
  // One of before has no such table, and keeps none.
  if (db.prepare("select 1 from sqlite_schema where name = 'kept_plugins'").get() === undefined) return []
  return db.prepare(query).all()
}
