/** Waiting for a cause: a thing is looked at again and again until it is as wanted, or a deadline has passed. */
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

export interface WaitOptions<T> {
  /** When what was seen is enough; by default when it is truthy. */
  until?: (seen: T) => boolean
  /** Default 90 s: longer than anything here takes on 2 cores that many suites share. Only a failure waits so long. */
  timeoutMs?: number
  /** Pause between two looks, default 25 ms: a look costs a few ms, so that a wait uses little of a core. */
  everyMs?: number
}

/**
 * Looks until what is seen is enough, and answers it.
 *
 * `what` completes "waited for …" and stands in the error, together with the last thing seen or the last failure
 * of `look`. A `look` that fails counts as "not yet"; one that hangs ends with the deadline.
 */
export async function waitFor<T>(what: string, look: () => T | Promise<T>, options: WaitOptions<T> = {}): Promise<T> {
  const { until = Boolean, timeoutMs = 90_000, everyMs = 25 } = options
  const end = performance.now() + timeoutMs
  let last = 'nothing yet'
  let cause: unknown
  for (;;) {
    try {
      const seen = await beforeDeadline(look, end - performance.now())
      if (until(seen)) return seen
      last = inspect(seen, { depth: 4, breakLength: 120 })
      cause = undefined
    } catch (error) {
      if (error !== TOO_LATE) {
        last = `failure: ${error instanceof Error ? error.message : String(error)}`
        cause = error
      }
    }
    if (performance.now() + everyMs >= end) {
      throw new Error(`waited ${timeoutMs} ms for ${what}; last seen: ${last}`, { cause })
    }
    await sleep(everyMs)
  }
}

const TOO_LATE = Symbol('the deadline passed while looking')

async function beforeDeadline<T>(look: () => T | Promise<T>, leftMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(TOO_LATE), Math.max(leftMs, 1))
  try {
    return await Promise.race([look(), promise])
  } finally {
    clearTimeout(timer)
  }
}
