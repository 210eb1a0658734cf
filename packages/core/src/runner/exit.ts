/** How a command ended, from the words the script keeps. */
import { ProviderError } from '../errors.ts'
import type { WorkerExit } from '../provider.ts'

/**
 * `STATUS SIGNAL OOM-KILLS MARK SECOND`, as in `137 KILL 1 0f… 1764464400` or `3 - 0 0f…`: an older script and a worker without `date` do not tell
 * when. A `!` after the signal: all of the worker had been sent SIGTERM.
 */
export function parseExit(words: readonly string[]): { exit: WorkerExit; mark: Buffer } {
  const [status = '', signal = '', kills, mark, second] = words
  if (mark === undefined || !/^[0-9]+$/.test(status))
    throw new ProviderError('transient', 'the worker sent something else than the protocol', {
      cause: new Error(words.join(' ')),
    })
  const told = signal.endsWith('!')
  const name = told ? signal.slice(0, -1) : signal
  const exit = describe(Number(status), name === '-' ? undefined : name, Number(kills) > 0)
  return { exit: { ...(told ? toldToEnd(exit) : exit), ...endOf(second) }, mark: Buffer.from(mark) }
}

/** It has not failed by itself when it ended by that, or was killed when its time was over; what it said itself is its word. */
function toldToEnd(exit: WorkerExit): WorkerExit {
  const { code, signal, oomKilled, reason } = exit
  const ended = ['SIGTERM', 'SIGKILL'].includes(signal ?? '') || code === 143 || code === 137
  const unknown = `unknown: all of its worker was told to end; it ${reason}`
  if (ended && oomKilled !== true) return { reason: unknown }
  return { ...exit, reason: `${reason}; all of its worker had been told to end` }
}

/** The end of that second: whoever saw it earlier knows better. */
function endOf(second: string | undefined): Pick<WorkerExit, 'at'> {
  return /^[1-9][0-9]{8,10}$/.test(second ?? '') ? { at: new Date(Number(second) * 1000 + 999).toISOString() } : {}
}

/** The supervisor is dead and told nothing; `kills` is how often the kernel's memory killer struck in the worker meanwhile. */
export function lostExit(kills: number): WorkerExit {
  const why = 'the process that watched the command in the worker was killed'
  // The command may have gone on and passed: how it ended is not guessed.
  return { reason: `unknown: ${why}${kills > 0 ? `; the memory killer struck ${kills} times in this worker meanwhile` : ''}` }
}

function describe(code: number, name: string | undefined, outOfMemory: boolean): WorkerExit {
  const signal = name === undefined ? undefined : `SIG${name.replace(/^SIG/, '')}`
  const how = signal === undefined ? { code } : { signal }
  // The kernel's memory killer sends SIGKILL; a shell around its victim ends with 137.
  if (outOfMemory && (signal === 'SIGKILL' || code === 137)) return { ...how, oomKilled: true, reason: 'out of memory' }
  const reason = signal === undefined ? `exited with ${code}` : `ended by ${signal}`
  if (outOfMemory && code !== 0)
    return { ...how, reason: `${reason}; meanwhile the kernel ended a process in this worker that was out of memory` }
  return { ...how, reason }
}
