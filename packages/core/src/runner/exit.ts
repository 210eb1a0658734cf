/** How a command ended, from the words the script keeps. */
import { ProviderError } from '../errors.ts'
import type { WorkerExit } from '../provider.ts'

/** `STATUS SIGNAL OOM-KILLS MARK SECOND`, as in `137 KILL 1 0f… 1764464400` or `3 - 0 0f…`: an older script and a worker without `date` do not tell when. */
export function parseExit(words: readonly string[]): { exit: WorkerExit; mark: Buffer } {
  const [status = '', signal = '', kills, mark, second] = words
  if (mark === undefined || !/^[0-9]+$/.test(status))
    throw new ProviderError('transient', 'the worker sent something else than the protocol', {
      cause: new Error(words.join(' ')),
    })
  const exit = describe(Number(status), signal === '-' ? undefined : signal, Number(kills) > 0)
  return { exit: { ...exit, ...endOf(second) }, mark: Buffer.from(mark) }
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
