/** Who waits for a Pod to go, told by the watch that is open anyway: nobody asks a server again and again. */
export interface Ends {
  /** A watch is open that will {@link tell} of each Pod which it shows no more; what is given back says that it is not any longer. */
  open(): () => void
  /** The watch shows it no more: it is gone, or has lost the label that it was seen by. */
  tell(uid: string): void
  /** To be called before what ends the Pod: the watch may be faster than an answer. Undefined: nobody watches, or too many wait already. */
  expect(uid: string): Expected | undefined
}

export interface Expected {
  readonly told: Promise<void>
  leave(): void
}

export function createEnds(most: number): Ends {
  const expected = new Map<string, Set<() => void>>()
  let watches = 0
  let waiting = 0
  return {
    open() {
      watches += 1
      let closed = false
      return () => {
        if (!closed) watches -= 1
        closed = true
      }
    },
    tell(uid) {
      for (const wake of expected.get(uid) ?? []) wake()
    },
    expect(uid) {
      if (watches === 0 || waiting >= most) return undefined
      waiting += 1
      const { promise: told, resolve } = Promise.withResolvers<void>()
      const those = expected.get(uid) ?? new Set()
      expected.set(uid, those.add(resolve))
      return {
        told,
        leave() {
          if (!those.delete(resolve)) return
          waiting -= 1
          if (those.size === 0 && expected.get(uid) === those) expected.delete(uid)
        },
      }
    },
  }
}
