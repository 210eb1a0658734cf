/** What people read as times of a record, where the machine's clock was another than the steady one that these are stored by. */
import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const table of ['workers', 'leases', 'runs']) await db.schema.alterTable(table).addColumn('ahead', 'text').execute()
}
