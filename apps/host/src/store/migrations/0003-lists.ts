/** Lists by pool or provider, and the sweep of idempotency keys, at a million records. */
import type { Kysely } from 'kysely'

const indexes: { name: string; table: string; columns: string[] }[] = [
  { name: 'workers_pool', table: 'workers', columns: ['pool', 'id'] },
  { name: 'workers_provider', table: 'workers', columns: ['provider', 'id'] },
  { name: 'leases_pool', table: 'leases', columns: ['pool', 'id'] },
  { name: 'runs_pool', table: 'runs', columns: ['pool', 'id'] },
  { name: 'idempotency_created', table: 'idempotency', columns: ['created_at'] },
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const { name, table, columns } of indexes) await db.schema.createIndex(name).on(table).columns(columns).execute()
}
