/** How a run ends when its worker was taken from it. */
import type { WorkerExit } from '@muster/core'
import type { RunRecord } from '../model.ts'
import type { Job, RunDeps } from './deps.ts'
import { type Ending, endingOf, endingWithoutWorker, type Stop } from './outcome.ts'

/** The worker is gone, and nobody saw the command's own end. */
export async function endingOfGone(
  { engine, records }: Pick<RunDeps, 'engine' | 'records'>,
  run: RunRecord,
  { stop, exit }: { stop: Stop | undefined; exit?: WorkerExit },
): Promise<Ending> {
  const lease = run.lease_id === null ? undefined : await engine.leases.find(run.lease_id)
  const worker = run.worker_id === null ? undefined : await engine.workers.find(run.worker_id)
  const begun = (records.get(run.id) ?? run).started_at !== null
  // A forgotten worker may go on, and the command in it too: what becomes of it, nobody can tell.
  if (worker?.end === 'disowned' && begun && stop === undefined && exit === undefined)
    return { outcome: 'unknown', reason: lease?.end_reason ?? `its worker was ${worker.terminate_reason ?? 'forgotten'}` }
  return endingWithoutWorker(lease, { stop, ...(exit === undefined ? {} : { exit }) })
}

/** The command's end was seen. One that was killed with its worker, by who ended that, has not failed by itself. */
export async function endingSeen(job: Job, exit: WorkerExit): Promise<Ending> {
  const { deps, run, watch } = job
  const stop = watch.stop()
  const taken = stop === undefined && watch.gone() && exit.oomKilled !== true && wasKilled(exit)
  return taken ? { ...(await endingOfGone(deps, run, { stop, exit })), exit } : endingOf(exit, stop)
}

/** By SIGTERM or SIGKILL, as a signal or as the code that a shell makes of it. */
function wasKilled({ code, signal }: WorkerExit): boolean {
  return signal === 'SIGTERM' || signal === 'SIGKILL' || code === 143 || code === 137
}
