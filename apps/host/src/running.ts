/** What the daemon runs by now, and one change of it at a time. */
import type { MusterConfig } from './config/load.ts'
import type { DevPart } from './dev-parts.ts'
import type { Discovery } from './plugins/discover.ts'

export interface Running {
  config: MusterConfig
  discovery: Discovery
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
  let last: Promise<unknown> = Promise.resolve()
  return {
    now,
    dev,
    inTurn(work) {
      const mine = last.then(work)
      last = mine.catch(() => undefined)
      return mine
    },
  }
}
