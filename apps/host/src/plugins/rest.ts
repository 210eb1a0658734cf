/** The time between one process of a provider and the next, which whoever wants it now may cut short. */
import { setTimeout as sleep } from 'node:timers/promises'
import { once } from './retire.ts'

export interface Rest {
  /** Milliseconds; not at all below one. */
  pause(ms: number): Promise<void>
  /** Until its end. */
  lasting(): Promise<void>
  /** The start after it has ended, well or not. */
  over(): void
  /** Ends a pause; settles when the start after it has ended. */
  wake(): Promise<void>
}

/** `ended`: what ends each pause besides, asked when it begins. */
export function openRest(ended: () => AbortSignal): Rest {
  let woken = new AbortController()
  let tried = Promise.withResolvers<void>()
  return {
    async pause(ms) {
      tried = Promise.withResolvers()
      woken = new AbortController()
      if (ms > 0) await sleep(ms, undefined, { signal: AbortSignal.any([ended(), woken.signal]) }).catch(() => undefined)
    },
    lasting: () => once(ended()),
    over: () => tried.resolve(),
    wake() {
      woken.abort()
      return tried.promise
    },
  }
}
