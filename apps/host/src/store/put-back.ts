/** What a store knows to be live, once it is clear that it is not the one that was at work last: it was restored, copied or moved. */
import type { Tx } from './store.ts'

/** What the former owner left running is not ours any more: its records end, nothing is terminated. */
export async function disown(tx: Tx, at: number): Promise<void> {
  const reason = 'the deployment got a new owner'
  await endUnbegun(tx, { at, reason })
  await tx
    .updateTable('workers')
    .set({ phase: 'failed', end: 'disowned', ended_at: at, spec_sealed: null })
    .where('ended_at', 'is', null)
    .execute()
  await tx
    .updateTable('leases')
    .set({ state: 'ended', end: 'lost', end_reason: reason, ended_at: at, request_sealed: null })
    .where('ended_at', 'is', null)
    .execute()
}

/** What waited then may have had its turn since: nobody is handed a worker that may be full of what another left, and no command is begun twice. */
export async function distrust(tx: Tx, at: number): Promise<void> {
  await endUnbegun(tx, { at, reason: 'the store was put back, and nobody can tell whether it has begun since' })
  await endUnused(tx, at)
}

/** Runs that have no worker yet end as `unknown`. Their leases end with them, so that a worker that is on its way for one is held by nobody. */
async function endUnbegun(tx: Tx, { at, reason }: { at: number; reason: string }): Promise<void> {
  const waiting = await tx
    .selectFrom('runs')
    .select(['id', 'pool', 'state', 'lease_id', 'rev', 'artifacts'])
    .where('ended_at', 'is', null)
    .where('worker_id', 'is', null)
    .execute()
  for (const { id, pool, state, lease_id, rev, artifacts } of waiting) {
    await tx
      .updateTable('runs')
      .set({
        ...{ state: 'ended', outcome: 'unknown', reason, ended_at: at, rev: rev + 1, request_sealed: null },
        artifacts: JSON.stringify((JSON.parse(artifacts) as { direction: string }[]).map(withoutRun)),
      })
      .where('id', '=', id)
      .execute()
    if (lease_id !== null) {
      const held = tx.updateTable('workers').where('lease_id', '=', lease_id).where('ended_at', 'is', null)
      await held.where('phase', '=', 'leased').set({ phase: 'idle' }).execute()
      await held.set({ lease_id: null }).execute()
      await tx
        .updateTable('leases')
        .set({ state: 'ended', end: 'lost', end_reason: reason, ended_at: at, request_sealed: null })
        .where('id', '=', lease_id)
        .where('ended_at', 'is', null)
        .execute()
    }
    await tell(tx, {
      at,
      ...{ rule: 'restored-unbegun', decision: `the run ended: unknown: ${reason}`, pool, run_id: id, lease_id },
      inputs: { state },
    })
  }
}

/** Nothing of an input is kept, and an output that did not come will not. */
function withoutRun<One extends { direction: string }>(one: One): One & { state: string } {
  return { ...one, state: one.direction === 'in' ? 'dropped' : 'missing' }
}

/** Workers that nobody holds. */
async function endUnused(tx: Tx, at: number): Promise<void> {
  const waiting = await tx
    .selectFrom('workers')
    .select(['id', 'pool', 'provider', 'phase', 'rev'])
    .where('ended_at', 'is', null)
    .where('lease_id', 'is', null)
    .where('phase', 'in', ['launching', 'starting', 'idle'])
    .execute()
  const reason = 'the store was put back, and it may have been used since'
  for (const { id, pool, provider, phase, rev } of waiting) {
    const ending = {
      phase: 'terminating' as const,
      terminate_reason: reason,
      terminate_force: 0,
      log_hold: 0,
      attempt: 0,
      rev: rev + 1,
    }
    await tx
      .updateTable('workers')
      .set({ ...ending, idle_since: null, next_attempt_at: null })
      .where('id', '=', id)
      .execute()
    await tell(tx, {
      at,
      ...{ rule: 'restored-unused', decision: `terminate: ${reason}`, pool, provider, worker_id: id },
      inputs: { phase },
    })
  }
}

/** One row of the journal. */
async function tell(tx: Tx, given: Told): Promise<void> {
  const of = { provider: null, worker_id: null, lease_id: null, run_id: null }
  await tx
    .insertInto('journal')
    .values({ ...of, ...given, inputs: JSON.stringify(given.inputs), change: '' })
    .execute()
}

interface Told {
  at: number
  rule: string
  decision: string
  pool: string
  provider?: string
  worker_id?: string
  lease_id?: string | null
  run_id?: string
  inputs: Record<string, unknown>
}
