/** The writes of worker and lease rows: compare-and-set on `rev`, with the engine's memory brought up after the commit. */
import { mayFollow } from '@muster/core'
import type { AfterCommit, Tx } from '../store/store.ts'
import { type Context, StaleRecord } from './context.ts'
import type { JournalEntry, LeaseRecord, LiveWorker, WorkerRecord } from './model.ts'
import { noteAhead } from './times.ts'

/** One write under way: everything that changes records takes it. */
export interface Writing {
  context: Context
  tx: Tx
  after: AfterCommit
  now: number
}

export function writing(context: Context, tx: Tx, after: AfterCommit): Writing {
  return { context, tx, after, now: context.clock.now() }
}

export async function journal(w: Writing, entry: JournalEntry): Promise<void> {
  await w.context.journal.append(w.tx, w.after, entry)
}

export async function insertWorker(w: Writing, made: WorkerRecord): Promise<LiveWorker> {
  const row = { ...made, ahead: noteAhead(w.context.clock, made) }
  await w.tx.insertInto('workers').values(row).execute()
  const { spec_sealed: _sealed, ...worker } = row
  w.after(() => w.context.state.setWorker(worker))
  return worker
}

export type WorkerChange = Partial<Omit<WorkerRecord, 'id' | 'pool' | 'provider' | 'rev' | 'spec_sealed' | 'ahead'>> & {
  spec_sealed?: null
}

/** Errors: StaleRecord when the row is not the one that was read. */
export async function changeWorker(w: Writing, worker: LiveWorker, change: WorkerChange): Promise<LiveWorker> {
  if (change.phase !== undefined && change.phase !== worker.phase && !mayFollow(worker.phase, change.phase))
    throw new Error(`a worker cannot go from ${worker.phase} to ${change.phase}`)
  const news = { rev: worker.rev + 1, ahead: noteAhead(w.context.clock, change, worker.ahead) }
  const result = await w.tx
    .updateTable('workers')
    .set({ ...change, ...news })
    .where('id', '=', worker.id)
    .where('rev', '=', worker.rev)
    .executeTakeFirst()
  if (result.numUpdatedRows === 0n) throw new StaleRecord()
  const { spec_sealed: _dropped, ...open } = change
  const next: LiveWorker = { ...worker, ...open, ...news }
  w.after(() => w.context.state.setWorker(next))
  return next
}

export async function insertLease(w: Writing, made: LeaseRecord): Promise<void> {
  const row = { ...made, ahead: noteAhead(w.context.clock, made) }
  await w.tx.insertInto('leases').values(row).execute()
  w.after(() => w.context.state.setLease(row))
}

export type LeaseChange = Partial<Omit<LeaseRecord, 'id' | 'pool' | 'rev' | 'ahead'>>

/** Errors: StaleRecord when the row is not the one that was read. */
export async function changeLease(w: Writing, lease: LeaseRecord, change: LeaseChange): Promise<LeaseRecord> {
  const news = { rev: lease.rev + 1, ahead: noteAhead(w.context.clock, change, lease.ahead) }
  const next: LeaseRecord = { ...lease, ...change, ...news }
  const result = await w.tx
    .updateTable('leases')
    .set({ ...change, ...news })
    .where('id', '=', lease.id)
    .where('rev', '=', lease.rev)
    .executeTakeFirst()
  if (result.numUpdatedRows === 0n) throw new StaleRecord()
  w.after(() => w.context.state.setLease(next))
  return next
}

/** The lease that is assigned to a worker or holds it. */
export function leaseOf(context: Context, worker: LiveWorker): LeaseRecord | undefined {
  return worker.lease_id === null ? undefined : context.state.leases.get(worker.lease_id)
}

export async function endLease(w: Writing, lease: LeaseRecord, how: { end: string; reason: string }): Promise<LeaseRecord> {
  const change = { state: 'ended', end: how.end, end_reason: how.reason, ended_at: w.now, request_sealed: null }
  return changeLease(w, lease, change)
}

export async function activateLease(w: Writing, lease: LeaseRecord, workerId: string): Promise<LeaseRecord> {
  return changeLease(w, lease, {
    state: 'active',
    worker_id: workerId,
    assigned_at: lease.assigned_at ?? w.now,
    active_at: w.now,
    // A run ends its lease itself, at the latest with the worker's lifetime.
    expires_at: lease.of_run === 1 ? null : w.now + lease.ttl_ms,
  })
}

/** What every worker begins with. */
export const newWorkerColumns = {
  phase: 'launching',
  rev: 0,
  handle: null,
  granted: null,
  attempt: 0,
  next_attempt_at: null,
  launched_at: null,
  ready_at: null,
  idle_since: null,
  terminate_reason: null,
  terminate_force: 0,
  ended_at: null,
  end: null,
  observed_phase: null,
  observed_ready: null,
  observed_at: null,
  part: null,
  exit: null,
  exited_at: null,
  problem: null,
  uses: 0,
  log_hold: 0,
  cordoned: 0,
  cordon_reason: null,
  kept_until: null,
  kept_for: null,
  ticket_hash: null,
  session_hash: null,
  agent_at: null,
  plugin_version: null,
  plugin_package: null,
  provider_config: null,
  ahead: null,
} as const
