/** The open calls of one process, for whoever must not end it before they have. */
export interface Holds {
  /** A call begins; what is returned ends it, once. */
  hold(): () => void
  /** Resolves when none is open. */
  empty(): Promise<void>
}

export function openHolds(): Holds {
  let count = 0
  let waiting: (() => void)[] = []
  return {
    hold() {
      count += 1
      let open = true
      return () => {
        if (!open) return
        open = false
        count -= 1
        if (count > 0) return
        for (const resolve of waiting) resolve()
        waiting = []
      }
    },
    async empty() {
      if (count > 0) await new Promise<void>((resolve) => waiting.push(resolve))
    },
  }
}
