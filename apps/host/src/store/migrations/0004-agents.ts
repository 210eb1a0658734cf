/** How workers that run an agent prove themselves: digests of ticket and session, and since when the agent is there. */
import { type Kysely, PostgresAdapter } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  // One by one: SQLite adds one column in a statement.
  await db.schema.alterTable('workers').addColumn('ticket_hash', 'text').execute()
  await db.schema.alterTable('workers').addColumn('session_hash', 'text').execute()
  await db.schema
    .alterTable('workers')
    .addColumn('agent_at', postgres ? 'bigint' : 'integer')
    .execute()
}
