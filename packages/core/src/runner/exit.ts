/** How a command ended, from the words the script keeps. */
import { ProviderError } from '../errors.ts'
import type { WorkerExit } from '../provider.ts'

/** `STATUS SIGNAL OOM-KILLS MARK`, as in `137 KILL 1 0f…` or `3 - 0 0f…`. */
export function parseExit(words: readonly string[]): { exit: WorkerExit; mark: Buffer } {
  const [status, signal, kills, mark] = words
  if (status === undefined || signal === undefined || mark === undefined || !/^[0-9]+$/.test(status))
    throw new ProviderError('transient', 'the worker sent something else than the protocol', {
      cause: new Error(words.join(' ')),
    })
  return { exit: describe(Number(status), signal === '-' ? undefined : signal, Number(kills) > 0), mark: Buffer.from(mark) }
}

/** The supervisor is dead and told nothing; `kills` is how often the kernel's memory killer struck in the worker meanwhile. */
export function lostExit(kills: number): WorkerExit {
  const why = 'the process that watched the command in the worker was killed'
  // The command may have gone on and passed: how it ended is not guessed.
  return { reason: `unknown: ${why}${kills > 0 ? `; the memory killer struck ${kills} times in this worker meanwhile` : ''}` }
}

function describe(code: number, name: string | undefined, outOfMemory: boolean): WorkerExit {
  const signal = name === undefined ? undefined : /^[A-Z]/.test(name) ? `SIG${name.replace(/^SIG/, '')}` : `SIG${name}`
  const how = signal === undefined ? { code } : { signal }
  // The kernel's memory killer sends SIGKILL; a shell around its victim ends with 137.
  if (outOfMemory && (signal === 'SIGKILL' || code === 137)) return { ...how, oomKilled: true, reason: 'out of memory' }
  const reason = signal === undefined ? `exited with ${code}` : `ended by ${signal}`
  if (outOfMemory && code !== 0)
    return { ...how, reason: `${reason}; meanwhile the kernel ended a process in this worker that was out of memory` }
  return { ...how, reason }
}
