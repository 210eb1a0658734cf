/** Where drivers of runs and agents of workers meet: a driver lays its run down for a worker, the agent takes it up and works on it. */
import type { OutputStream, WorkerExit } from '@muster/core'
import type { Engine } from '../api.ts'
import type { Order, Wants } from '../agent-api.ts'
import type { Artifact } from '../model.ts'

/** One run that waits for the agent of its worker, or is worked on. */
export interface Seat {
  readonly runId: string
  taken(): boolean
  /** The agent takes it up. */
  take(): Promise<Order>
  wants(): { wants: Wants; reason?: string }
  openInput(name: string): { artifact: Artifact; tar: AsyncIterable<Uint8Array> }
  putOutput(upload: { name: string; tar: AsyncIterable<Uint8Array>; sha256?: string }): Promise<Artifact>
  appendLog(piece: { stream: OutputStream; offset: number; data: Uint8Array }): Promise<number>
  /** Resolves when it is taken in; that it is durable shows in the record. */
  finish(exit: WorkerExit): Promise<void>
}

export interface Desk {
  /** Lays a run down for the agent of a worker: behind the one that it works on, and those that are older. Returns what takes it away. */
  lay(workerId: string, seat: Seat): () => void
  /** The run that the agent of this worker is to work on. */
  current(workerId: string): Seat | undefined
  /** The first defined answer of `look`, asked now and after each change of the worker and its runs; undefined when the signal aborts. */
  until<T>(workerId: string, look: () => T | undefined, signal: AbortSignal): Promise<T | undefined>
  /** Something has changed for this worker. */
  tell(workerId: string): void
}

export function createDesk({ changes }: Pick<Engine, 'changes'>): Desk {
  const seats = new Map<string, Seat[]>()
  const waiting = new Map<string, Set<() => void>>()

  function tell(workerId: string): void {
    for (const wake of waiting.get(workerId) ?? []) wake()
  }

  changes.onWorker(({ id }) => tell(id))

  return {
    tell,
    current: (workerId) => seats.get(workerId)?.[0],
    lay(workerId, seat) {
      seats.set(workerId, [...(seats.get(workerId) ?? []), seat].sort(inTurn))
      tell(workerId)
      return () => {
        const left = (seats.get(workerId) ?? []).filter((one) => one !== seat)
        if (left.length === 0) seats.delete(workerId)
        else seats.set(workerId, left)
        tell(workerId)
      }
    },
    async until(workerId, look, signal) {
      const all = waiting.get(workerId) ?? new Set()
      waiting.set(workerId, all)
      let news = Promise.withResolvers<void>()
      const wake = (): void => news.resolve()
      all.add(wake)
      signal.addEventListener('abort', wake)
      try {
        for (;;) {
          // Taken before the look, so that what comes after the look is not missed.
          news = Promise.withResolvers<void>()
          const found = look()
          if (found !== undefined || signal.aborted) return found
          await news.promise
        }
      } finally {
        all.delete(wake)
        if (all.size === 0 && waiting.get(workerId) === all) waiting.delete(workerId)
        signal.removeEventListener('abort', wake)
      }
    },
  }
}

/** Ids grow with time. */
function inTurn(one: Seat, other: Seat): number {
  return Number(other.taken()) - Number(one.taken()) || (one.runId < other.runId ? -1 : 1)
}
