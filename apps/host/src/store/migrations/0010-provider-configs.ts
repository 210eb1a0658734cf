/** Where a worker is: its provider may have been configured to be another place since. */
import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('workers').addColumn('provider_config', 'text').execute()
}
