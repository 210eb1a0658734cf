/** How a command ended, from the words that the script keeps. Pure. */
import type { WorkerExit } from '@muster/core'

/** `W/exit` as the script writes it: `STATUS SIGNAL OOM-KILLS CUT LIMIT`, as in `137 KILL 1 - -` or `3 - 0 stdout 1024`; the limit where it is what cut. */
export function parseExit(text: string, at: Date): WorkerExit {
  const [status = '', name = '-', kills = '0', cut = '-', limit = '-'] = text.trim().split(' ')
  const code = Number(status)
  const signal = name === '-' ? undefined : `SIG${name.replace(/^SIG/, '')}`
  const killed = Number(kills) > 0
  // The kernel's memory killer sends SIGKILL; a shell around its victim ends with 137.
  const oomKilled = killed && (signal === 'SIGKILL' || code === 137)
  const how = signal === undefined ? `exited with ${code}` : `ended by ${signal}`
  const reasons = [oomKilled ? 'out of memory' : how]
  if (killed && !oomKilled && code !== 0) reasons.push('the kernel ended a process of it that was out of memory')
  const why = limit === '-' ? 'the machine could not store it' : `a worker may write ${limit} bytes of each here (logBytes)`
  if (cut !== '-') reasons.push(`the end of ${cut.replace('+', ' and ')} is missing, ${why}`)
  return {
    ...(signal === undefined ? { code } : { signal }),
    ...(oomKilled ? { oomKilled } : {}),
    reason: reasons.join('; '),
    at: at.toISOString(),
  }
}
