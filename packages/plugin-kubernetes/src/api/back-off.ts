/** Waiting for longer after each failure. */

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
