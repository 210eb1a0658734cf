/** How a run ends, told from what is known. Pure. */
import type { WorkerExit } from '@muster/core'
import type { LeaseRecord, RunOutcome } from '../model.ts'

export interface Ending {
  outcome: RunOutcome
  exit?: WorkerExit
  reason: string
  /** Why the end of what the command said may not be stored; absent: all of it is. */
  logProblem?: string
  /** Its worker takes no command, or may still run this one: nobody else is handed it. */
  unfit?: true
}

/** Nobody saw the end of its log: `why`. */
export function cutOff(ending: Ending, why: string): Ending {
  return { ...ending, logProblem: why }
}

/** Why the host itself ends a run before its command has ended. */
export type Stop = { kind: 'cancelled' | 'timeout'; reason: string; force: boolean }

/** The command has ended, with or without our doing. An exit that nobody can tell is never made into one. */
export function endingOf(exit: WorkerExit, stop: Stop | undefined): Ending {
  const missing = missingEnd(exit)
  const ending = endingBy(exit, stop)
  return missing === undefined ? ending : cutOff(ending, missing)
}

/** What the worker could not keep of its output, as `stdout, the worker keeps 1024 bytes of it`: who says so are the runner and providers, in these words. */
function missingEnd({ reason }: WorkerExit): string | undefined {
  const found = [...reason.matchAll(/(?:^|; )the end of ((?:stdout|stderr)(?: and stderr)?) is missing(, [^;]*)?/g)]
  return found.length === 0 ? undefined : found.map(([, stream, why = '']) => `${stream}${why}`).join('; ')
}

function endingBy(exit: WorkerExit, stop: Stop | undefined): Ending {
  if (stop !== undefined) return { outcome: stop.kind, exit, reason: stop.reason }
  if (exit.oomKilled === true) return { outcome: 'oom', exit, reason: 'it ran out of memory' }
  if (exit.code === 0) return { outcome: 'passed', exit, reason: 'exit 0' }
  if (exit.signal !== undefined) return { outcome: 'failed', exit, reason: `ended by ${exit.signal}` }
  if (exit.code !== undefined) return { outcome: 'failed', exit, reason: `exit ${exit.code}` }
  return { outcome: 'unknown', exit, reason: exit.reason }
}

/** The command never began: for that `reason`, unless the host was to end it anyway. */
export function endingUnbegun(reason: string, stop: Stop | undefined): Ending {
  return stop === undefined ? { outcome: 'infrastructure', reason } : { outcome: stop.kind, reason: stop.reason }
}

/** The worker went away under the run, or never came. */
export function endingWithoutWorker(
  lease: LeaseRecord | undefined,
  { stop, exit }: { stop: Stop | undefined; exit?: WorkerExit },
): Ending {
  if (stop !== undefined) return { outcome: stop.kind, reason: stop.reason, ...(exit === undefined ? {} : { exit }) }
  if (exit?.oomKilled === true) return { outcome: 'oom', exit, reason: 'its worker ran out of memory' }
  const reason = lease?.end_reason ?? (exit === undefined ? 'its worker is gone' : `its worker ended: ${exit.reason}`)
  return {
    outcome: 'infrastructure',
    reason: lease?.end === 'lost' ? `its worker was lost: ${reason.replace(/^lost: /, '')}` : reason,
  }
}

/** An output that the run needs and that is not there. */
export interface MissingOutput {
  name: string
  /** command: it left none · host: nobody could get it · cancel: nobody wanted to wait for it */
  fault: 'command' | 'host' | 'cancel'
  reason?: string
}

/** The outputs are looked at last, and of what passed only: nothing else gets worse by them. */
export function endingOfOutputs(ending: Ending, missing: readonly MissingOutput[]): Ending {
  if (ending.outcome !== 'passed' || missing.length === 0) return ending
  const by = (fault: MissingOutput['fault']): MissingOutput[] => missing.filter((one) => one.fault === fault)
  const names = (all: readonly MissingOutput[]): string => all.map((one) => one.name).join(', ')
  const [left, had] = [by('command'), by('host')]
  if (left.length > 0) return { ...ending, outcome: 'failed', reason: `it left no output ${names(left)}${why(left)}` }
  if (had.length > 0)
    return { ...ending, outcome: 'infrastructure', reason: `it passed, but its output ${names(had)} could not be had${why(had)}` }
  return { ...ending, outcome: 'cancelled', reason: `cancelled before its output ${names(missing)} was stored` }
}

function why(all: readonly MissingOutput[]): string {
  const reason = all.find((one) => one.reason !== undefined)?.reason
  return reason === undefined ? '' : `: ${reason}`
}
