/** Lists by pool or provider, and the sweep of idempotency keys, at a million records. */
import { type Kysely, sql } from 'kysely'

/** Of the live rows apart: they are few, and without an index of their own a list of them would walk over all that have ended. */
const live = 'ended_at is null'

const indexes: { name: string; table: string; columns: string[]; where?: string }[] = [
  { name: 'workers_pool', table: 'workers', columns: ['pool', 'id'] },
  { name: 'workers_live_pool', table: 'workers', columns: ['pool', 'id'], where: live },
  { name: 'workers_provider', table: 'workers', columns: ['provider', 'id'] },
  { name: 'workers_live_provider', table: 'workers', columns: ['provider', 'id'], where: live },
  { name: 'leases_pool', table: 'leases', columns: ['pool', 'id'] },
  { name: 'leases_live_pool', table: 'leases', columns: ['pool', 'id'], where: live },
  { name: 'runs_pool', table: 'runs', columns: ['pool', 'id'] },
  { name: 'runs_live_pool', table: 'runs', columns: ['pool', 'id'], where: live },
  { name: 'runs_worker', table: 'runs', columns: ['worker_id', 'id'], where: 'worker_id is not null' },
  { name: 'idempotency_created', table: 'idempotency', columns: ['created_at'] },
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const { name, table, columns, where } of indexes) {
    const index = db.schema.createIndex(name).on(table).columns(columns)
    await (where === undefined ? index : index.where(sql.raw<boolean>(where))).execute()
  }
}
