/** Tells the holder of a worker that somebody else ends it, while it still runs: a node is drained, an operator of the vendor stops it. */
import type { WorkerObservation } from '@muster/core'
import type { LiveWorker } from './model.ts'
import { journal, type Writing } from './records.ts'
import { brief } from './words.ts'

/** Once for each worker: at the first sight of it. */
export async function tellTaken(w: Writing, worker: LiveWorker, seen: WorkerObservation): Promise<void> {
  if (worker.lease_id === null || wasTaken(worker) || !(seen.phase === 'stopping' || seen.problem?.final === true)) return
  const why = seen.problem === undefined ? 'its provider says no reason' : brief(seen.problem.message)
  await journal(w, {
    rule: 'worker-taken',
    decision: `its lease ends with it soon: ${why}`,
    pool: worker.pool,
    provider: worker.provider,
    workerId: worker.id,
    leaseId: worker.lease_id,
    inputs: { phase: seen.phase, problem: seen.problem?.code ?? null, part: seen.part ?? null },
    change: 'Whoever takes it away leaves it, or waits until its lease is over.',
  })
}

function wasTaken({ observed_phase: phase, problem }: LiveWorker): boolean {
  return phase === 'stopping' || finalOf(problem) !== undefined
}

/** Why a worker is gone, as far as its provider had said; `problem` as a record has it. */
export function lossOf(problem: string | null): string {
  return `lost: ${finalOf(problem) ?? 'gone without our doing'}`
}

function finalOf(problem: string | null): string | undefined {
  const { final, message } = (problem === null ? {} : JSON.parse(problem)) as { final?: boolean; message?: string }
  return final === true ? message : undefined
}
