/** How a run ends, told from what is known. Pure. */
import type { WorkerExit } from '@muster/core'
import type { LeaseRecord, RunOutcome } from '../model.ts'

export interface Ending {
  outcome: RunOutcome
  exit?: WorkerExit
  reason: string
}

/** Why the host itself ends a run before its command has ended. */
export type Stop = { kind: 'cancelled' | 'timeout'; reason: string; force: boolean }

/** The command has ended, with or without our doing. An exit that nobody can tell is never made into one. */
export function endingOf(exit: WorkerExit, stop: Stop | undefined): Ending {
  if (stop !== undefined) return { outcome: stop.kind, exit, reason: stop.reason }
  if (exit.oomKilled === true) return { outcome: 'oom', exit, reason: 'it ran out of memory' }
  if (exit.code === 0) return { outcome: 'passed', exit, reason: 'exit 0' }
  if (exit.signal !== undefined) return { outcome: 'failed', exit, reason: `ended by ${exit.signal}` }
  if (exit.code !== undefined) return { outcome: 'failed', exit, reason: `exit ${exit.code}` }
  return { outcome: 'unknown', exit, reason: exit.reason }
}

/** The worker went away under the run, or never came. */
export function endingWithoutWorker(
  lease: LeaseRecord | undefined,
  { stop, exit }: { stop: Stop | undefined; exit?: WorkerExit },
): Ending {
  if (stop !== undefined) return { outcome: stop.kind, reason: stop.reason, ...(exit === undefined ? {} : { exit }) }
  if (exit?.oomKilled === true) return { outcome: 'oom', exit, reason: 'its worker ran out of memory' }
  const reason = lease?.end_reason ?? 'its worker is gone'
  return { outcome: 'infrastructure', reason: lease?.end === 'lost' ? `its worker was lost: ${reason}` : reason }
}
