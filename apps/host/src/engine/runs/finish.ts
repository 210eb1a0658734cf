/** The last write of a run. */
import type { StoreWork } from '../../store/store.ts'
import type { Artifact } from '../model.ts'
import type { RunDeps } from './deps.ts'
import { keepOf } from './keep.ts'
import type { Ending } from './outcome.ts'
import { artifactsOf } from './records.ts'

/** The end of the run and the end of its lease are one write; what was sealed is dropped with it. */
export async function finish(deps: RunDeps, id: string, ending: Ending): Promise<void> {
  const { engine, records } = deps
  const run = records.get(id)
  if (run === undefined) return
  const end = {
    state: 'ended',
    outcome: ending.outcome,
    exit: ending.exit === undefined ? null : JSON.stringify(ending.exit),
    reason: ending.reason,
    // What never began has said all that it will.
    log_problem: run.started_at === null ? null : (ending.logProblem ?? null),
    ended_at: engine.clock.now(),
    request_sealed: null,
    artifacts: JSON.stringify(artifactsOf(run).map(atEnd)),
  }
  const lease = run.kind === 'run' ? engine.leases.ofRun(id) : undefined
  const write: StoreWork<void> = async (tx, after) => {
    await records.change(id, () => end, { tx, after })
    await engine.journal.append(tx, after, {
      rule: 'run-ended',
      decision: `the run ended: ${ending.outcome}`,
      pool: run.pool,
      runId: id,
      ...(run.worker_id === null ? {} : { workerId: run.worker_id }),
      ...(run.lease_id === null ? {} : { leaseId: run.lease_id }),
      inputs: { outcome: ending.outcome, reason: ending.reason, ...(ending.exit === undefined ? {} : { exit: ending.exit }) },
      change: changeFor(ending),
    })
  }
  // In somebody's worker: whoever holds it has it until they let go of it.
  if (lease === undefined && ending.unfit === true && run.worker_id !== null) engine.workers.unfit(run.worker_id)
  if (lease === undefined) await engine.store.write(write)
  else {
    if (run.worker_id !== null && engine.workers.get(run.worker_id) !== undefined)
      await engine.workers.confirmLogEnd(run.worker_id)
    const how = {
      reason: `its run ended: ${ending.outcome}`,
      ...(ending.outcome === 'cancelled' ? { end: 'cancelled' as const } : {}),
      // It may have got ready in this very moment.
      unread: run.worker_id === null,
      ...keepOf(run, ending.outcome),
      ...(ending.unfit === true ? { discard: true } : {}),
    }
    await engine.leases.release(lease.id, how, (tx, after) => write(tx, after))
    // The lease had ended meanwhile, and its end took no note of the run.
    if (records.get(id) !== undefined) await engine.store.write(write)
  }
  deps.killpoint('run-ended')
}

/** Nothing of an input is kept, and an output that did not come will not. */
function atEnd(one: Artifact): Artifact {
  if (one.direction === 'in') return { ...one, state: 'dropped' }
  return one.state === 'awaited' ? { ...one, state: 'missing' } : one
}

function changeFor(ending: Ending): string {
  switch (ending.outcome) {
    case 'timeout':
      return 'a longer time-out'
    case 'oom':
      return 'more memory for the worker'
    case 'infrastructure':
      return 'see the decisions about its worker'
    case 'unknown':
      return 'a provider that keeps the exit of a command, and a worker that stays reachable'
    case 'passed':
    case 'failed':
    case 'cancelled':
      return ''
  }
}
