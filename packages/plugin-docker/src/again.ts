/** Workers whose container somebody has started again: what runs there since is not what was launched, and no word of how that ended. */
import type { Instant, WorkerId } from '@muster/core'
import type { ContainerInspect } from './client.ts'
import { instantOf } from './translate.ts'

type State = ContainerInspect['State']

export interface BegunAgain {
  /** Looks at one that was inspected: a second start shows as long as that lasts. */
  has(id: WorkerId, state: State): boolean
  /** Known already, without a look. */
  known(id: WorkerId): boolean
  /** The engine told of a start, by its own id of the container. One start may be told of twice, at the same time. */
  started(id: WorkerId, start: { container: string; timeNano: number }): void
  forget(id: WorkerId): void
}

export function begunAgain(): BegunAgain {
  const again = new Set<WorkerId>()
  const starts = new Map<WorkerId, { container: string; timeNano: number }>()
  return {
    has(id, state) {
      if (endBefore(state) !== undefined) again.add(id)
      return again.has(id)
    },
    known: (id) => again.has(id),
    started(id, start) {
      const before = starts.get(id)
      if (before?.container === start.container && before.timeNano !== start.timeNano) again.add(id)
      starts.set(id, start)
    },
    forget(id) {
      again.delete(id)
      starts.delete(id)
    },
  }
}

/** When it ended, of a container that runs all the same: an engine keeps that time. */
export function endBefore({ Running: running, Paused: paused, FinishedAt: finished }: State): Instant | undefined {
  return running || paused ? instantOf(finished) : undefined
}
