/** Which version of its plugin a worker belongs to, and the versions that stay for workers which the one that runs does not account for. */
import { type Kysely, PostgresAdapter, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  await db.schema.alterTable('workers').addColumn('plugin_version', 'text').execute()
  const kept = db.schema
    .createTable('kept_plugins')
    .addColumn('provider', 'text', (column) => column.primaryKey())
    .addColumn('version', 'text', (column) => column.notNull())
    .addColumn('tree', 'text', (column) => column.notNull())
    .addColumn('content', 'text', (column) => column.notNull())
    .addColumn('since', postgres ? 'bigint' : 'integer', (column) => column.notNull())
  await (postgres ? kept : kept.modifyEnd(sql`strict`)).execute()
}
