/** From the end of a run to an exit code, and a line where the code alone would mislead. Pure. */
import { constants } from 'node:os'
import type { Run } from '@muster/client'
import { exits } from './io.ts'

export interface Told {
  code: number
  /** Absent when the code is the command's own. */
  line?: string
}

/** 128 and the signal's number, as shells have it. */
const SIGNAL_BASE = 128

export function outcomeOf(run: Run): Told {
  const { outcome, reason = 'nothing was told' } = run
  switch (outcome) {
    case 'passed':
      return { code: exits.ok }
    case 'failed':
      return failed(run)
    case 'oom':
      return { code: SIGNAL_BASE + constants.signals.SIGKILL, line: `out of memory: ${reason}` }
    case 'timeout':
      return { code: exits.timeout, line: `timed out: ${reason}` }
    case 'cancelled':
      return { code: exits.cancelled, line: `cancelled: ${reason}` }
    case 'infrastructure':
      // It may have passed, and what it left is lost.
      return { code: exits.infrastructure, line: run.exit?.code === 0 ? reason : `the command did not run to its end: ${reason}` }
    case 'unknown':
      return unknownEnd(reason)
    case undefined:
    default:
      return { code: exits.infrastructure, line: `it has not ended: the run is ${run.state}` }
  }
}

/** How long its command has run, in milliseconds; undefined: it has not begun. The end is when it was, where the provider says so, else when it was seen. */
export function tookMs({ startedAt, endedAt, exit }: Run, now: number): number | undefined {
  if (startedAt === undefined) return undefined
  const seen = endedAt === undefined ? now : Date.parse(endedAt)
  const began = Date.parse(startedAt)
  // By the clock of the worker's machine: it is not believed beyond what was seen here.
  const told = exit?.at === undefined ? seen : Date.parse(exit.at)
  return Math.max(0, (told > began && told < seen ? told : seen) - began)
}

function failed({ exit, reason = 'nothing was told' }: Run): Told {
  if (exit?.code !== undefined && exit.code !== 0) return { code: exit.code }
  // The command itself was content, as when it left none of the output that was asked for.
  if (exit?.code === 0) return { code: exits.failed, line: reason }
  const number = signalNumber(exit?.signal)
  if (number !== undefined) return { code: SIGNAL_BASE + number }
  return exit?.signal === undefined ? unknownEnd(reason) : { code: exits.infrastructure, line: `ended by ${exit.signal}` }
}

function unknownEnd(reason: string): Told {
  return { code: exits.infrastructure, line: `nobody knows how it ended: ${reason}` }
}

/** Of a command that is no run: it ended as it ended. */
export function exitCodeOf({ code, signal, reason }: { code?: number; signal?: string; reason: string }): Told {
  const number = signalNumber(signal)
  if (code !== undefined) return { code }
  return number === undefined ? unknownEnd(reason) : { code: SIGNAL_BASE + number }
}

/** Real-time signals have numbers only, as `SIG40`. */
function signalNumber(name: string | undefined): number | undefined {
  const number = /^SIG(\d+)$/.exec(name ?? '')?.[1]
  return number === undefined ? (constants.signals as Readonly<Record<string, number>>)[name ?? ''] : Number(number)
}
