/** A token bucket for the requests of one client, which yields to what the API server says of its load. */
import { ApiFailure } from './failure.ts'
import { pause } from '@muster/provider-parts/waiting'

export interface Bucket {
  /**
   * Waits for one's turn, first come first served. Rejects with status 429 where the server wants to be left alone for longer than
   * `patienceMs`: whoever asks then decides what to do meanwhile.
   */
  take(signal: AbortSignal, patienceMs: number): Promise<void>
  /** The server turned a request away: nothing goes for so long. */
  hold(ms: number): void
}

export interface BucketOptions {
  /** Requests a second in the long run. */
  rate: number
  /** So many at once after a rest. */
  burst: number
  /** Milliseconds of a clock that never goes back. */
  clock?: () => number
}

export function createBucket({ rate, burst, clock = () => performance.now() }: BucketOptions): Bucket {
  /** When the bucket would be full again, and until when the server wants nothing. */
  let fullAt = clock()
  let heldUntil = 0
  const costMs = 1000 / rate
  return {
    async take(signal, patienceMs) {
      signal.throwIfAborted()
      for (;;) {
        const now = clock()
        if (heldUntil > now) {
          const held = heldUntil - now
          if (held > patienceMs) throw tooLong(held)
          await pause(held, signal)
          continue
        }
        fullAt = Math.max(fullAt, now) + costMs
        const wait = fullAt - now - burst * costMs
        if (wait <= 0) return
        try {
          await pause(wait, signal)
        } catch (error) {
          // Whoever gave up has used nothing.
          fullAt -= costMs
          throw error
        }
        if (heldUntil <= clock()) return
        // Turned away meanwhile: the token goes back, and everybody waits again.
        fullAt -= costMs
      }
    },
    hold(ms) {
      heldUntil = Math.max(heldUntil, clock() + ms)
    },
  }
}

function tooLong(ms: number): ApiFailure {
  return new ApiFailure('the API server wants to be left alone', { status: 429, sent: false, retryAfterMs: Math.ceil(ms) })
}
