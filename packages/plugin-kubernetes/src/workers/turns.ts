/** One at a time for each worker: what is asked of it second waits for the first, or for its own signal. */
import { raceAbort } from '@muster/provider-parts/waiting'

export interface Turns {
  take<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

export function createTurns(): Turns {
  const tails = new Map<string, Promise<void>>()
  return {
    async take(key, signal, work) {
      const before = tails.get(key) ?? Promise.resolve()
      const { promise: done, resolve: finish } = Promise.withResolvers<void>()
      const tail = before.then(() => done)
      tails.set(key, tail)
      try {
        await raceAbort(before, signal)
        return await work()
      } finally {
        finish()
        // Whoever gave up waiting may leave before the first one is done.
        void tail.then(() => {
          if (tails.get(key) === tail) tails.delete(key)
        })
      }
    },
  }
}
