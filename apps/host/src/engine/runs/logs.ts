/** Logs as their readers see them: from any position, following while the run goes on, at the reader's own pace. */
import type { RunRecord } from '../model.ts'
import { type LogPiece, type LogState, RunError, type Runs } from '../runs-api.ts'
import { logPath } from './deps.ts'
import { BadPosition, type LogTotals, measureLog, nothing, readFrames } from './log-file.ts'
import type { RunRecords } from './records.ts'

/** Totals that are remembered, of the logs that were asked for last: some hundred bytes each. */
const MEASURED = 1000

export interface Logs {
  grown(runId: string, end: number): void
  /** Runs whose log somebody reads now. */
  followed(): number
  api: Pick<Runs, 'readLog' | 'logState'>
}

interface Growing {
  end: number
  /** Wake those who read; without any, there is no entry. */
  readers: Set<() => void>
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
  /** How far each was looked through; the one that was asked for last is the last. */
  const measured = new Map<string, LogTotals>()

  /** Returns what ends it. */
  function read(id: string, wake: () => void): { entry: Growing; stop: () => void } {
    const entry = growing.get(id) ?? { end: 0, readers: new Set() }
    growing.set(id, entry)
    entry.readers.add(wake)
    return {
      entry,
      stop: () => {
        entry.readers.delete(wake)
        if (entry.readers.size === 0 && growing.get(id) === entry) growing.delete(id)
      },
    }
  }

  function remember(id: string, found: LogTotals): void {
    measured.delete(id)
    measured.set(id, found)
    const [oldest] = measured.keys()
    if (measured.size > MEASURED && oldest !== undefined) measured.delete(oldest)
  }

  /** All output is stored once the exit is. */
  function isComplete(run: RunRecord): boolean {
    return run.state === 'collecting' || run.state === 'ended'
  }

  function dropped({ id, ended_at: endedAt }: Pick<RunRecord, 'id' | 'ended_at'>): RunError {
    return new RunError('gone', `the log of run ${id} was ${endedAt === null ? 'removed while it runs' : 'dropped'}`)
  }

  async function find(id: string): Promise<RunRecord> {
    const run = await records.find(id)
    if (run === undefined) throw new RunError('not-found', `no run ${id}`)
    return run
  }

  async function totals(run: RunRecord): ReturnType<typeof measureLog> {
    try {
      const found = await measureLog(logPath({ dataDir }, run.id), measured.get(run.id))
      remember(run.id, found)
      return found
    } catch (error) {
      measured.delete(run.id)
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      // Before its command was started it has no file, and no output either.
      if (run.worker_id !== null && run.started_at !== null) throw dropped(run)
      return nothing
    }
  }

  async function* readLog(id: string, { from, follow, signal }: Parameters<Runs['readLog']>[1]): AsyncGenerator<LogPiece> {
    const path = logPath({ dataDir }, id)
    // One for each look, so that a log that is followed for days holds no more than at its beginning.
    let news = Promise.withResolvers<void>()
    const wake = (): void => news.resolve()
    const { entry, stop } = read(id, wake)
    const ends = signal === undefined ? stopping : AbortSignal.any([signal, stopping])
    ends.addEventListener('abort', wake)
    const unwatch = records.observe(id, wake)
    try {
      let at = from
      for (;;) {
        // Taken before the look, so that what comes after the look is not missed.
        news = Promise.withResolvers<void>()
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
        if (complete && at < (run.log_end ?? 0))
          throw new RunError(
            'gone',
            `the log of run ${id} is damaged: it ended at ${run.log_end}, and nothing can be read from ${at} on`,
          )
        if (ends.aborted || complete || !follow) return
        await news.promise
        if (ends.aborted) return
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw dropped({ id, ended_at: records.get(id)?.ended_at ?? null })
      throw error instanceof BadPosition ? new RunError('bad-offset', `${error.message} in the log of run ${id}`) : error
    } finally {
      stop()
      unwatch()
      ends.removeEventListener('abort', wake)
    }
  }

  async function logState(id: string): Promise<LogState> {
    const run = await find(id)
    const { end, stdout, stderr } = await totals(run)
    return { end, stdoutBytes: stdout, stderrBytes: stderr, complete: isComplete(run) }
  }

  return {
    grown(id, end) {
      const entry = growing.get(id)
      if (entry === undefined) return
      entry.end = end
      for (const wake of entry.readers) wake()
    },
    followed: () => growing.size,
    api: { readLog, logState },
  }
}
