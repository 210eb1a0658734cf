/** Where the log of a run ended: so that a file which ends before that is not taken for all of it. */
import { type Kysely, PostgresAdapter } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  await db.schema
    .alterTable('runs')
    .addColumn('log_end', postgres ? 'bigint' : 'integer')
    .execute()
}
