/** Versions of plugins that could not start, and the one before that runs instead. */
import { type Kysely, PostgresAdapter, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  const fallbacks = db.schema
    .createTable('plugin_fallbacks')
    .addColumn('alias', 'text', (column) => column.primaryKey())
    .addColumn('tree', 'text', (column) => column.notNull())
    .addColumn('before_tree', 'text', (column) => column.notNull())
    .addColumn('since', postgres ? 'bigint' : 'integer', (column) => column.notNull())
  await (postgres ? fallbacks : fallbacks.modifyEnd(sql`strict`)).execute()
}
