/** Why the end of a run's log is not there. */
import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('runs').addColumn('log_problem', 'text').execute()
}
