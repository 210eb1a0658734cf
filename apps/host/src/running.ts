/** What the daemon runs by now, and one change of it at a time. */
import type { Deployment, DevPart } from './dev-parts.ts'
import { openTurns } from './turns.ts'

export interface Running extends Deployment {
  /** The configuration as written. */
  written: unknown
}

export interface RunningState {
  now: Running
  /** What is attached for development beside it. */
  dev: readonly DevPart[]
  /** Does the work when the changes before it are done. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
}

export function openRunning(now: Running, dev: readonly DevPart[] = []): RunningState {
  return { now, dev, inTurn: openTurns() }
}
