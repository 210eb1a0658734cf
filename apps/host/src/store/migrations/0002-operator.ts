/** What an operator wishes: of pools and providers in a table, of workers in columns. */
import { type Kysely, PostgresAdapter, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  const time = postgres ? 'bigint' : 'integer'
  const wishes = db.schema
    .createTable('wishes')
    .addColumn('scope', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('wish', 'text', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('principal', 'text', (column) => column.notNull())
    .addColumn('at', time, (column) => column.notNull())
    .addPrimaryKeyConstraint('wishes_key', ['scope', 'name'] as never[])
  await (postgres ? wishes : wishes.modifyEnd(sql`strict`)).execute()
  // One by one: SQLite adds one column in a statement.
  await db.schema.alterTable('workers').addColumn('cordon_reason', 'text').execute()
  await db.schema.alterTable('workers').addColumn('kept_until', time).execute()
  await db.schema.alterTable('workers').addColumn('kept_for', 'text').execute()
}
