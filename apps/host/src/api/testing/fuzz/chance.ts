/** Chance that repeats: the same seed, the same choices. */

export interface Chance {
  /** From 0 up to, not including, `below`. */
  int(below: number): number
  /** True so often: 0 to 1. */
  is(share: number): boolean
  pick<T>(items: readonly T[]): T
}

/** mulberry32: 32 bits of state are plenty for choices, and it needs no package. */
export function chance(seed: number): Chance {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    int: (below) => Math.floor(next() * below),
    is: (share) => next() < share,
    pick: (items) => {
      const found = items[Math.floor(next() * items.length)]
      if (items.length === 0) throw new Error('nothing to pick from')
      return found as (typeof items)[number]
    },
  }
}
