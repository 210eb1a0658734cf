/** One pass after the other: after what woke it, and every so often without. */
import { pause } from '@muster/provider-parts/waiting'

export interface Loop {
  /** There is something to look at. */
  wake(): void
  /** Passes until the signal aborts. */
  run(signal: AbortSignal): Promise<void>
}

export interface LoopOptions {
  pass: () => Promise<void>
  onFailure: (error: unknown) => void
  /** Between two passes without a cause. */
  everyMs: number
}

/** What happens within so long is looked at once: a pool that grows makes many workers at a time. */
const GATHER_MS = 100
/** A pass that failed is not the cause of the next one. */
const AFTER_FAILURE_MS = 1000

export function createLoop({ pass, onFailure, everyMs }: LoopOptions): Loop {
  let woken = Promise.withResolvers<void>()
  return {
    wake: () => woken.resolve(),
    async run(signal) {
      signal.addEventListener('abort', () => woken.resolve(), { once: true })
      while (!signal.aborted) {
        woken = Promise.withResolvers<void>()
        let rest = GATHER_MS
        try {
          await pass()
        } catch (error) {
          if (signal.aborted) return
          onFailure(error)
          rest = AFTER_FAILURE_MS
        }
        await pause(rest, signal).catch(() => {})
        const timer = setTimeout(woken.resolve, everyMs)
        if (!signal.aborted) await woken.promise
        clearTimeout(timer)
      }
    },
  }
}
