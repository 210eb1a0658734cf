/** How long the other side may take, in time that this side has seen pass: while both stood still, as with their machine, nobody is late. */

/** Often enough that a look which comes late tells a pause of this process. */
const lookEveryMs = 1000
/** A look this late: this process stood still, and so did the other, for all it knows. */
const pauseMs = 5000

export interface Waiting {
  /** It has done its part. */
  done(): boolean
  /** Called at the first look at which it has. */
  settled?(): void
  /** Called when it has not in all that time. */
  late(): void
}

/** Looks until it is done or late. After a pause of this process the time begins anew. Returns what ends the wait. */
export function waitPatiently(ms: number, { done, settled, late }: Waiting): () => void {
  let left = ms
  let timer: NodeJS.Timeout | undefined
  const look = (): void => {
    const at = performance.now()
    const step = Math.min(lookEveryMs, left)
    timer = setTimeout(() => {
      if (done()) return settled?.()
      const over = performance.now() - at - step
      // After a shorter one timers fire before the socket is read: that step is none.
      left = over > pauseMs ? ms : over > step ? left : left - step
      if (left <= 0) late()
      else look()
    }, step)
    timer.unref()
  }
  look()
  return () => clearTimeout(timer)
}
