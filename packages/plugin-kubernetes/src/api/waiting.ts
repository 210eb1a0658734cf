/** Waiting with an end: for a promise until a signal, for a time, for longer after each failure. */

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

export interface BackOff {
  /** How long to wait after one more failure: at least what the server asked for. */
  next(retryAfterMs?: number): number
  reset(): void
}

/** Half a second doubled up to 30 s, as the clients of client-go do, with full jitter: many that lost one server do not come back as one. */
const FIRST_MS = 500
const MOST_MS = 30_000

export interface BackOffOptions {
  /** Of [0, 1). */
  random?: () => number
  firstMs?: number
  mostMs?: number
}

export function createBackOff({ random = Math.random, firstMs = FIRST_MS, mostMs = MOST_MS }: BackOffOptions = {}): BackOff {
  let failures = 0
  return {
    next(retryAfterMs = 0) {
      const most = Math.min(mostMs, firstMs * 2 ** Math.min(failures++, 16))
      return retryAfterMs + random() * most
    },
    reset() {
      failures = 0
    },
  }
}
