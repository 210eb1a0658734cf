/** Small helpers of the engine's parts. */
import type { Handle, WorkerExit, WorkerTarget } from '@muster/core'
import type { Clock } from './clock.ts'
import type { WorkMode } from './spec.ts'

export function minutes(count: number): number {
  return count * 60_000
}

/** Provider phases in which a worker can do work, or soon will. */
export function activePhase(phase: string | null): boolean {
  return phase === 'running' || phase === 'provisioning' || phase === null
}

/** How a worker was made to work, from the open part of its spec. */
export function modeOfSpec(spec: string): WorkMode {
  return (JSON.parse(spec) as { work: { mode: WorkMode } }).work.mode
}

/** The run whose lease it is; undefined: somebody's own. */
export function runOfLease({ request }: { request: string }): string | undefined {
  return (JSON.parse(request) as { ofRun?: string }).ofRun
}

/** How a provider is asked for a worker: with its handle, once there is one. */
export function targetOf({ id, handle }: { id: string; handle: string | null }): WorkerTarget {
  return { id, ...(handle === null ? {} : { handle: JSON.parse(handle) as Handle }) }
}

/** Who decided, and why where that was said: `by ann: maintenance`. */
export function by({ principal, reason }: { principal: string; reason: string }): string {
  return reason === '' ? `by ${principal}` : `by ${principal}: ${reason}`
}

/** Messages from providers go into records and the journal: long ones are cut. */
export function brief(message: string): string {
  return message.length <= 500 ? message : `${message.slice(0, 497)}...`
}

/** A part of a sentence, for whoever waits; the journal has more of it. */
export function inShort(message: string): string {
  const line = message.replaceAll(/\s+/g, ' ')
  return line.length <= 200 ? line : `${line.slice(0, 197)}...`
}

/** How a worker ended, in a few words. */
export function exitText(exit: WorkerExit | undefined): string {
  if (exit === undefined) return 'no exit given'
  if (exit.oomKilled === true) return 'out of memory'
  if (exit.signal !== undefined) return exit.signal
  return exit.code === undefined ? exit.reason : `exit ${exit.code}`
}

/** When something is tried again, as whoever reads it has the time. */
export function nextTry(clock: Pick<Clock, 'now' | 'wall'>, until: number | undefined): string {
  const now = clock.now()
  return until === undefined || until <= now ? '' : `; tried again at ${new Date(clock.wall() + until - now).toISOString()}`
}
