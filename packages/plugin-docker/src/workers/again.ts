/** Workers whose container somebody has started again: what runs there since is not what was launched, and no word of how that ended. */
import type { Instant, WorkerId } from '@muster/core'
import type { ContainerInspect } from '../client.ts'
import { instantOf } from '../translate.ts'

type State = ContainerInspect['State']

export interface BegunAgain {
  /** Looks at one that was inspected: a second start shows as long as that lasts. Not of one whose start is known to be a resumption. */
  has(id: WorkerId, state: State): boolean
  /** As `has`: milliseconds since 1970 after which nothing is its worker's output; undefined: it was not started again. */
  endOf(id: WorkerId, state: State): number | undefined
  /** That start was one that we want: it had been suspended to disk. Said twice with a while between, it is known. */
  resumed(id: WorkerId, state: State): void
  /** Known already, without a look. */
  known(id: WorkerId): boolean
  /** The engine told of a start, by its own id of the container. One start may be told of twice, at the same time. */
  started(id: WorkerId, start: { container: string; timeNano: number }): void
  forget(id: WorkerId): void
  /** Hears of it when it is known; what is returned ends that. */
  hear(id: WorkerId, listener: () => void): () => void
}

/** What was written last is stamped a little later than the end; a runtime needs longer than that to make the next process. */
const LATE_MS = 20

/** A holding worker takes the mark of an earlier resumption away as it begins, and a look may come before that. */
const MARK_MS = 10_000

/** Workers that somebody else removes are never forgotten: the longest known goes first. More do not run on one engine. */
const MOST_STARTS = 10_000

export function begunAgain(now: () => number = () => performance.now()): BegunAgain {
  const again = new Set<WorkerId>()
  const ends = new Map<WorkerId, number>()
  const starts = new Map<WorkerId, { container: string; timeNano: number }>()
  const resumptions = new Map<WorkerId, { startedAt: string; since: number; known: boolean }>()
  const listeners = new Map<WorkerId, Set<() => void>>()

  function add(id: WorkerId): void {
    again.add(id)
    for (const tell of listeners.get(id) ?? []) tell()
  }

  function has(id: WorkerId, state: State): boolean {
    const resumption = resumptions.get(id)
    if (resumption?.known === true && resumption.startedAt === state.StartedAt) return false
    const end = endBefore(state)
    if (end !== undefined && !ends.has(id)) ends.set(id, Date.parse(end) + LATE_MS)
    if (end !== undefined && !again.has(id)) add(id)
    return again.has(id)
  }

  return {
    has,
    // Of one that has ended again unseen, the engine only knows when that had begun.
    endOf: (id, state) => (has(id, state) ? (ends.get(id) ?? Date.parse(state.StartedAt)) : undefined),
    resumed(id, { StartedAt: startedAt }) {
      const before = resumptions.get(id)
      if (before?.startedAt !== startedAt) resumptions.set(id, { startedAt, since: now(), known: false })
      else if (now() - before.since >= MARK_MS) before.known = true
    },
    known: (id) => again.has(id) && resumptions.get(id)?.known !== true,
    started(id, start) {
      const before = starts.get(id)
      if (before?.container === start.container && before.timeNano !== start.timeNano) {
        resumptions.delete(id)
        add(id)
      }
      starts.delete(id)
      starts.set(id, start)
      const [oldest] = starts.keys()
      if (starts.size > MOST_STARTS && oldest !== undefined) starts.delete(oldest)
    },
    forget(id) {
      again.delete(id)
      ends.delete(id)
      starts.delete(id)
      resumptions.delete(id)
    },
    hear(id, listener) {
      const all = listeners.get(id) ?? new Set()
      listeners.set(id, all.add(listener))
      return () => {
        if (all.delete(listener) && all.size === 0 && listeners.get(id) === all) listeners.delete(id)
      }
    },
  }
}

/** When it ended, of a container that runs all the same: an engine keeps that time. */
function endBefore({ Running: running, Paused: paused, FinishedAt: finished }: State): Instant | undefined {
  return running || paused ? instantOf(finished) : undefined
}
