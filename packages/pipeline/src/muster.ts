/** What the pipeline asks of Muster, and nothing more: a narrow view of the public client, which tests replace. */
import { createReadStream } from 'node:fs'
import {
  isMusterError,
  type Lease,
  type LogChunk,
  type MusterClient,
  type Run,
  type RunRequest,
  type WorkerInfo,
} from '@muster/client'

export type { Run, RunRequest }

/** Every call waits out a restart of the daemon by itself, and rejects with the client's MusterError. */
export interface Muster {
  /** Makes a run; the same key gives the same run. */
  createRun(request: RunRequest, key: string): Promise<Run>
  /** Resolves with the run once it has come as far as `until`, has ended, or a while has passed: look at its state. */
  waitRun(id: string, options: { until: Run['state']; signal?: AbortSignal }): Promise<Run>
  /** Asks for its end; `force` kills at once. A run that has ended stays as it ended. */
  cancelRun(id: string, how: { reason: string; force: boolean }): Promise<void>
  /** Uploads a tar; the digests of both sides are compared. */
  putInput(id: string, name: string, tar: { file: string; signal?: AbortSignal }): Promise<void>
  /** Opens an output; `sha256` is what Muster says of it, and reading fails when other bytes come. */
  getOutput(id: string, name: string): Promise<{ sha256: string | undefined; tar: AsyncIterable<Uint8Array> }>
  /** The run's output, every byte once, up to its end. */
  followLog(id: string, options: { signal?: AbortSignal }): AsyncIterable<LogChunk>
  /** Why the first in the pool's queue has no worker; empty when nothing waits. */
  waitingOf(pool: string): Promise<string>
  /** Undefined: no longer kept. */
  findLease(id: string): Promise<Lease | undefined>
  findWorker(id: string): Promise<WorkerInfo | undefined>
}

export function musterOf(client: MusterClient): Muster {
  const { runs, leases, workers, pools } = client
  return {
    createRun: (request, key) => runs.create(request, { key }),
    waitRun: (id, options) => runs.wait(id, options),
    cancelRun: async (id, how) => void (await runs.cancel(id, how)),
    putInput: async (id, name, { file, ...given }) =>
      void (await runs.putInput(id, { name, tar: () => createReadStream(file), ...given })),
    getOutput: (id, name) => runs.getOutput(id, name),
    followLog: (id, options) => runs.logs(id, options),
    waitingOf: async (pool) => (await pools.get(pool)).waiting,
    findLease: (id) => kept(leases.get(id).then(({ lease }) => lease)),
    findWorker: (id) => kept(workers.get(id)),
  }
}

async function kept<T>(asked: Promise<T>): Promise<T | undefined> {
  return asked.catch((error: unknown) => {
    if (isMusterError(error) && ['not-found', 'gone'].includes(error.code)) return undefined
    throw error
  })
}
