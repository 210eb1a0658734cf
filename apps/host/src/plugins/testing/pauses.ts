/** For tests: pauses that are written down, and over as soon as the test wants. */
import { syncBuiltinESMExports } from 'node:module'
import timers from 'node:timers/promises'

export interface Paused extends Disposable {
  /** Milliseconds of each, as they began. */
  readonly ms: number[]
  /** Ends the one that goes on for longest, and waits for it where there is none yet. */
  pass(): Promise<void>
}

/** Instead of `setTimeout` of `node:timers/promises`, for whoever imports it by name; pauses that no signal ends, as those of tests, stay as they are. */
export function pausedTimers(): Paused {
  const real = timers.setTimeout
  const ms: number[] = []
  const open = new Set<() => void>()
  let begun = Promise.withResolvers<void>()
  const pause = (wait = 0, value?: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> => {
    if (signal === undefined) return real(wait, value)
    return new Promise((resolve, reject) => {
      const over = (): void => {
        signal.removeEventListener('abort', end)
        resolve(value)
      }
      function end(): void {
        open.delete(over)
        reject(signal?.reason as Error)
      }
      if (signal.aborted) return end()
      signal.addEventListener('abort', end, { once: true })
      ms.push(wait)
      open.add(over)
      begun.resolve()
      begun = Promise.withResolvers<void>()
    })
  }
  const install = (made: typeof timers.setTimeout): void => {
    timers.setTimeout = made
    syncBuiltinESMExports()
  }
  install(pause as typeof timers.setTimeout)
  return {
    ms,
    async pass() {
      if (open.size === 0) await begun.promise
      const [first] = open
      if (first === undefined) return
      open.delete(first)
      first()
    },
    [Symbol.dispose]: () => install(real),
  }
}
