/** The first schema. Written once for both engines; what differs is asked of the adapter. */
import { type ColumnDefinitionBuilder, type Kysely, PostgresAdapter, sql } from 'kysely'

type Build = (column: ColumnDefinitionBuilder) => ColumnDefinitionBuilder

const required: Build = (column) => column.notNull()
const optional: Build = (column) => column
const zero: Build = (column) => column.notNull().defaultTo(0)
const key: Build = (column) => column.primaryKey().notNull()

/** Column name → kind: `text` or `int`, and whether it may be null. Milliseconds since 1970 need 64 bits. */
type Columns = Record<string, ['text' | 'int', Build]>

const tables: Record<string, Columns> = {
  meta: { key: ['text', key], value: ['text', required] },
  term: { id: ['int', key], holder: ['text', required], epoch: ['int', required], expires_at: ['int', required] },
  workers: {
    id: ['text', key],
    pool: ['text', required],
    provider: ['text', required],
    phase: ['text', required],
    rev: ['int', required],
    spec: ['text', required],
    spec_sealed: ['text', optional],
    shape: ['text', required],
    handle: ['text', optional],
    granted: ['text', optional],
    lease_id: ['text', optional],
    epoch: ['int', required],
    attempt: ['int', zero],
    next_attempt_at: ['int', optional],
    created_at: ['int', required],
    launched_at: ['int', optional],
    ready_at: ['int', optional],
    idle_since: ['int', optional],
    expires_at: ['int', optional],
    terminate_reason: ['text', optional],
    terminate_force: ['int', zero],
    grace_ms: ['int', required],
    ended_at: ['int', optional],
    end: ['text', optional],
    observed_phase: ['text', optional],
    observed_ready: ['text', optional],
    observed_at: ['int', optional],
    part: ['text', optional],
    exit: ['text', optional],
    exited_at: ['int', optional],
    problem: ['text', optional],
    uses: ['int', zero],
    log_hold: ['int', zero],
    cordoned: ['int', zero],
  },
  leases: {
    id: ['text', key],
    pool: ['text', required],
    state: ['text', required],
    rev: ['int', required],
    request: ['text', required],
    request_sealed: ['text', optional],
    shape: ['text', required],
    worker_id: ['text', optional],
    principal: ['text', required],
    of_run: ['int', zero],
    requested_at: ['int', required],
    assigned_at: ['int', optional],
    active_at: ['int', optional],
    ttl_ms: ['int', required],
    expires_at: ['int', optional],
    queue_deadline: ['int', optional],
    ended_at: ['int', optional],
    end: ['text', optional],
    end_reason: ['text', optional],
    tries: ['int', zero],
  },
  runs: {
    id: ['text', key],
    kind: ['text', required],
    pool: ['text', required],
    lease_id: ['text', optional],
    worker_id: ['text', optional],
    state: ['text', required],
    rev: ['int', required],
    request: ['text', required],
    request_sealed: ['text', optional],
    principal: ['text', required],
    exec_id: ['text', optional],
    created_at: ['int', required],
    queued_at: ['int', optional],
    started_at: ['int', optional],
    ended_at: ['int', optional],
    deadline: ['int', optional],
    cancel_requested: ['int', zero],
    outcome: ['text', optional],
    exit: ['text', optional],
    reason: ['text', optional],
    artifacts: ['text', required],
  },
  journal: {
    seq: ['int', (column) => column],
    at: ['int', required],
    rule: ['text', required],
    decision: ['text', required],
    pool: ['text', optional],
    provider: ['text', optional],
    worker_id: ['text', optional],
    lease_id: ['text', optional],
    run_id: ['text', optional],
    inputs: ['text', required],
    change: ['text', required],
  },
  tokens: {
    id: ['text', key],
    name: ['text', required],
    role: ['text', required],
    hash: ['text', (column) => column.notNull().unique()],
    created_at: ['int', required],
    expires_at: ['int', optional],
    revoked_at: ['int', optional],
    last_used_at: ['int', optional],
  },
  conditions: {
    scope: ['text', required],
    name: ['text', required],
    type: ['text', required],
    message: ['text', required],
    hint: ['text', required],
    since: ['int', required],
    updated_at: ['int', required],
  },
  orphans: {
    provider: ['text', required],
    worker_id: ['text', required],
    handle: ['text', optional],
    tags: ['text', required],
    first_seen: ['int', required],
    state: ['text', required],
    updated_at: ['int', required],
  },
  idempotency: {
    key: ['text', required],
    principal: ['text', required],
    request_digest: ['text', required],
    status: ['int', required],
    response: ['text', required],
    created_at: ['int', required],
  },
}

const compoundKeys: Record<string, string[]> = {
  conditions: ['scope', 'name', 'type'],
  orphans: ['provider', 'worker_id'],
  idempotency: ['principal', 'key'],
}

/** Only what queries need: each index costs a write on the launch path. Partial ones hold just the rows that still matter. */
const indexes: { name: string; table: string; columns: string[]; where?: string }[] = [
  { name: 'workers_live', table: 'workers', columns: ['id'], where: 'ended_at is null' },
  { name: 'workers_ended', table: 'workers', columns: ['ended_at'], where: 'ended_at is not null' },
  { name: 'leases_live', table: 'leases', columns: ['id'], where: 'ended_at is null' },
  { name: 'leases_ended', table: 'leases', columns: ['ended_at'], where: 'ended_at is not null' },
  { name: 'runs_live', table: 'runs', columns: ['id'], where: 'ended_at is null' },
  { name: 'runs_ended', table: 'runs', columns: ['ended_at'], where: 'ended_at is not null' },
  { name: 'journal_worker', table: 'journal', columns: ['worker_id', 'seq'], where: 'worker_id is not null' },
  { name: 'journal_lease', table: 'journal', columns: ['lease_id', 'seq'], where: 'lease_id is not null' },
  { name: 'journal_run', table: 'journal', columns: ['run_id', 'seq'], where: 'run_id is not null' },
  { name: 'journal_at', table: 'journal', columns: ['at'] },
]

export async function up(db: Kysely<unknown>): Promise<void> {
  const postgres = db.getExecutor().adapter instanceof PostgresAdapter
  for (const [name, columns] of Object.entries(tables)) {
    let table = db.schema.createTable(name)
    for (const [column, [kind, build]] of Object.entries(columns)) {
      if (column === 'seq') {
        // Never given twice, also after old rows were deleted: a subscriber resumes by it.
        table = postgres
          ? table.addColumn('seq', 'bigint', (c) => c.primaryKey().generatedAlwaysAsIdentity())
          : table.addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement().notNull())
      } else {
        table = table.addColumn(column, kind === 'text' ? 'text' : postgres ? 'bigint' : 'integer', build)
      }
    }
    const compound = compoundKeys[name]
    if (compound !== undefined) table = table.addPrimaryKeyConstraint(`${name}_key`, compound as never[])
    if (!postgres) table = table.modifyEnd(sql`strict`)
    await table.execute()
  }
  for (const { name, table, columns, where } of indexes) {
    const index = db.schema.createIndex(name).on(table).columns(columns)
    await (where === undefined ? index : index.where(sql.raw<boolean>(where))).execute()
  }
}
