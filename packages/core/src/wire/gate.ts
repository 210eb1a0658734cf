/** Places for open calls: further ones wait in order. */

export interface Place {
  /** Goes now or when a place is free; never after {@link leave}. */
  start(): void
  leave(): void
}

export interface Gate {
  /** `free`: needs no place. */
  enter(free: boolean, go: () => void): Place
  readonly waiting: number
}

export function createGate(limit: number = Number.POSITIVE_INFINITY): Gate {
  /** In order of arrival; leaving from the middle is cheap. */
  const queue = new Set<() => void>()
  let inside = 0

  function next(): void {
    for (const go of queue) {
      if (inside >= limit) return
      queue.delete(go)
      go()
    }
  }

  return {
    get waiting() {
      return queue.size
    },
    enter(free, go) {
      let state: 'new' | 'waits' | 'inside' | 'left' = 'new'
      const admit = (): void => {
        state = 'inside'
        inside++
        go()
      }
      return {
        start() {
          if (state !== 'new') return
          if (free) {
            state = 'left'
            go()
          } else if (inside < limit) admit()
          else {
            state = 'waits'
            queue.add(admit)
          }
        },
        leave() {
          if (state === 'waits') queue.delete(admit)
          if (state === 'inside') {
            inside--
            state = 'left'
            next()
          }
          state = 'left'
        },
      }
    },
  }
}
