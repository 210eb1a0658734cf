/** Whether a version of a plugin can start at all: counts the starts in a row that failed by its own fault. */
import { isVendors } from './blame.ts'

export interface Fitness {
  /** It was found well: what fell before was no failed start. */
  well(): void
  /** A start, or its first probe, failed by its own fault; `final`: the same would come again. */
  failed(reason: string, how?: { final: boolean }): void
  /** Its process ended, by itself or for a violation. Of one that was well it says nothing here. */
  ended(reason: string, how: { violated: boolean; said: readonly string[] }): void
  isUnfit(): boolean
  /** Another version is started from now on. */
  renew(): void
}

/** One failed start may be bad luck, five in a row are not: as many as open the breaker of calls. */
const startsToOpen = 5

export function fitnessOf(unfit: (reason: string) => void): Fitness {
  let failures = 0
  let wasWell = false

  function failed(reason: string, { final } = { final: false }): void {
    failures = final ? startsToOpen : failures + 1
    if (failures >= startsToOpen) unfit(reason)
  }

  return {
    failed,
    well: () => {
      failures = 0
      wasWell = true
    },
    ended(reason, { violated, said }) {
      // A call may have felled it; the next process begins anew.
      const counts = !wasWell && (violated || !isVendors(said))
      wasWell = false
      // It is left alone for minutes after a violation: the next try would be late.
      if (counts) failed(reason, { final: violated })
    },
    isUnfit: () => failures >= startsToOpen,
    renew: () => {
      failures = 0
      wasWell = false
    },
  }
}
