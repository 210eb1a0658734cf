/** The engine's only source of time, so that tests can turn it by hand. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Runs once after `ms`. Returns what cancels it. */
  after(ms: number, run: () => void): () => void
  /** 0 ≤ x < 1. Here because jitter is a matter of time too. */
  random(): number
}

/** The longest delay that Node's timers know; a longer one is cut, and whoever set it looks again then. */
const LONGEST_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), LONGEST_MS))
    return () => clearTimeout(timer)
  },
  random: () => Math.random(),
}
