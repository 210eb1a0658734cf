/** Waiting with an end: for a promise until a signal, for one's turn with a worker. */

/** Settles as the promise does, or rejects with the signal's reason once it aborts. The promise itself goes on. */
export async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whoever gives up does not hear of it; without this an unheard rejection would end the process.
  promise.catch(() => {})
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(abortReason(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** A signal's reason as an Error: anybody can abort with any value. */
export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new DOMException('The operation was aborted', 'AbortError')
}

/** Resolves after `ms`, or rejects once the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  try {
    await raceAbort(new Promise<void>((resolve) => (timer = setTimeout(resolve, ms))), signal)
  } finally {
    clearTimeout(timer)
  }
}

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
