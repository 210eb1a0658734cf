/** What the calls of one provider wait for before they go to its plugin. */
import type { WaitReason } from './api.ts'

export interface Waits {
  /**
   * A call begins. `limit`: how many of its kind the plugin takes at once; Infinity where it needs no place. `trying`: the breaker lets
   * one call go before the others.
   */
  enter(call: { limit: number; trying: boolean }): Wait
}

export interface Wait {
  /** It has its place; tells where it had to wait. */
  placed(told: (reason: WaitReason) => void): void
  leave(): void
}

export function openWaits(): Waits {
  /** Calls of this provider alone that have not ended and need a place. */
  let open = 0
  return {
    enter({ limit, trying }) {
      const own = trying || open >= limit
      const counts = limit !== Infinity
      if (counts) open += 1
      // All that a call needs of this side is done in its turn; what comes later was let go by somebody else's.
      let later = false
      const turned = setImmediate(() => (later = true))
      return {
        placed(told) {
          clearImmediate(turned)
          if (later) told(own ? 'own' : 'others')
        },
        leave() {
          clearImmediate(turned)
          if (counts) open -= 1
        },
      }
    },
  }
}
