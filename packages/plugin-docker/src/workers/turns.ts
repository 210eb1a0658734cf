/** Work that waits for other work: a few at once, or one's turn with a worker. */
import { raceAbort } from '@muster/provider-parts/waiting'

/** Runs `work` over all items, at most `width` at once; answers in their order. Rejects with the first failure. */
export async function mapWide<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T)
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
  return results
}

/** One at a time for each key; `doom` tells those who have or await a turn to give up. */
export interface Turns {
  /** Waits for the turn of `key` and holds it while `work` runs, whose signal aborts when the key is doomed. */
  take<T>(key: string, signal: AbortSignal, work: (doomed: AbortSignal) => Promise<T>): Promise<T>
  doom(key: string): void
}

export function createTurns(): Turns {
  const queues = new Map<string, { tail: Promise<void>; doomed: AbortController; waiting: number }>()
  return {
    async take(key, signal, work) {
      let queue = queues.get(key)
      if (queue === undefined || queue.doomed.signal.aborted) {
        // After a doom the next one waits for those before, but is not doomed itself.
        queue = { tail: queue?.tail ?? Promise.resolve(), doomed: new AbortController(), waiting: 0 }
        queues.set(key, queue)
      }
      const { doomed } = queue
      const before = queue.tail
      const { promise: done, resolve: finish } = Promise.withResolvers<void>()
      queue.tail = before.then(() => done)
      queue.waiting++
      try {
        await raceAbort(before, signal)
        return await work(doomed.signal)
      } finally {
        finish()
        queue.waiting--
        if (queue.waiting === 0 && queues.get(key) === queue) queues.delete(key)
      }
    },
    doom(key) {
      queues.get(key)?.doomed.abort()
    },
  }
}
