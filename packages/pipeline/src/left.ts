/** What a pipeline left: asked of Muster, not assumed. */
import { setTimeout as pause } from 'node:timers/promises'
import { isMusterError } from '@muster/client'
import type { JobResult, PipelineResult } from './events.ts'
import type { Muster } from './muster.ts'

/** A worker is ended after its run: grace, kill and the vendor's own time lie in between. */
const PATIENCE_MS = 60_000
const LOOK_MS = 100

/** Record phases in which a worker costs and does nothing any more, and `idle`: it went back to a pool that re-uses its workers. */
const over = new Set(['terminated', 'failed', 'idle'])

/** Workers of these jobs that do not go. Waits for those that are going. */
export async function findLeft(
  muster: Pick<Muster, 'findWorker'>,
  results: readonly JobResult[],
): Promise<{ left: PipelineResult['left']; unknown?: string }> {
  const jobs = new Map(results.flatMap(({ job, worker }) => (worker === undefined ? [] : [[worker, job] as const])))
  const until = performance.now() + PATIENCE_MS
  try {
    for (;;) {
      const left: PipelineResult['left'] = []
      for (const [id, job] of jobs) {
        const worker = await muster.findWorker(id)
        if (worker === undefined || over.has(worker.phase)) jobs.delete(id)
        else left.push({ worker: id, provider: worker.provider, phase: worker.phase, job })
      }
      if (left.length === 0 || performance.now() > until) return { left }
      await pause(LOOK_MS)
    }
  } catch (error) {
    if (!isMusterError(error)) throw error
    return { left: [], unknown: error.message }
  }
}
