/** Logs as their readers see them: from any position, following while the run goes on, at the reader's own pace. */
import type { RunRecord } from '../model.ts'
import { type LogPiece, type LogState, RunError, type Runs } from '../runs-api.ts'
import { logPath } from './deps.ts'
import { BadPosition, measureLog, readFrames } from './log-file.ts'
import type { RunRecords } from './records.ts'

export interface Logs {
  grown(runId: string, end: number): void
  api: Pick<Runs, 'readLog' | 'logState'>
}

interface Growing {
  end: number
  /** Replaced at every growth. */
  next: PromiseWithResolvers<void>
}

export function createLogs({
  records,
  dataDir,
  stopping,
}: {
  records: RunRecords
  dataDir: string
  stopping: AbortSignal
}): Logs {
  const growing = new Map<string, Growing>()

  function growingOf(id: string): Growing {
    const known = growing.get(id) ?? { end: 0, next: Promise.withResolvers<void>() }
    growing.set(id, known)
    return known
  }

  /** All output is stored once the exit is. */
  function isComplete(run: RunRecord): boolean {
    return run.state === 'collecting' || run.state === 'ended'
  }

  async function find(id: string): Promise<RunRecord> {
    const run = await records.find(id)
    if (run === undefined) throw new RunError('not-found', `no run ${id}`)
    return run
  }

  async function totals(run: RunRecord): ReturnType<typeof measureLog> {
    try {
      return await measureLog(logPath({ dataDir }, run.id))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      // A run that never came to a worker has no file, and no output either.
      if (run.worker_id !== null && run.ended_at !== null && run.started_at !== null)
        throw new RunError('gone', `the log of run ${run.id} was dropped`)
      return { end: 0, stdout: 0, stderr: 0 }
    }
  }

  async function* readLog(id: string, { from, follow, signal }: Parameters<Runs['readLog']>[1]): AsyncGenerator<LogPiece> {
    const path = logPath({ dataDir }, id)
    const entry = growingOf(id)
    const changed = Promise.withResolvers<void>()
    const ends = signal === undefined ? stopping : AbortSignal.any([signal, stopping])
    ends.addEventListener('abort', () => changed.resolve(), { once: true })
    let wake = Promise.withResolvers<void>()
    const unwatch = records.observe(id, () => {
      wake.resolve()
      wake = Promise.withResolvers<void>()
    })
    try {
      let at = from
      for (;;) {
        // Taken before the look, so that what comes after the look is not missed.
        const waits = [entry.next.promise, wake.promise, changed.promise]
        const run = await find(id)
        const complete = isComplete(run)
        const end = Math.max(entry.end, (await totals(run)).end)
        if (at > end) throw new RunError('bad-offset', `the log of run ${id} ends at ${end}`)
        if (at < end)
          for await (const piece of readFrames(path, at, () => end)) {
            if (ends.aborted) return
            at = piece.next
            yield piece
          }
        if (ends.aborted || complete || !follow) return
        await Promise.race(waits)
        if (ends.aborted) return
      }
    } catch (error) {
      throw error instanceof BadPosition ? new RunError('bad-offset', `${error.message} in the log of run ${id}`) : error
    } finally {
      unwatch()
    }
  }

  async function logState(id: string): Promise<LogState> {
    const run = await find(id)
    const { end, stdout, stderr } = await totals(run)
    return { end, stdoutBytes: stdout, stderrBytes: stderr, complete: isComplete(run) }
  }

  return {
    grown(id, end) {
      const entry = growingOf(id)
      entry.end = end
      entry.next.resolve()
      entry.next = Promise.withResolvers<void>()
      if (records.get(id) === undefined) growing.delete(id)
    },
    api: { readLog, logState },
  }
}
