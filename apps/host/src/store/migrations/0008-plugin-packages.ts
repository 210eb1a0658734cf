/** Whose version a worker belongs to: two plugins may have one of the same number. */
import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('workers').addColumn('plugin_package', 'text').execute()
}
