/** The engine's only source of time, so that tests can turn it by hand. */
export interface Clock {
  /** Milliseconds since 1970 by the steady clock: what decides, and what records hold. People read it by `times.ts`. */
  now(): number
  /** Milliseconds since 1970 by the machine's clock, which may step: what people read, and by what they name an instant. Nothing else is decided by it. */
  wall(): number
  /** Runs once after `ms`. Returns what cancels it. */
  after(ms: number, run: () => void): () => void
  /** 0 ≤ x < 1. Here because jitter is a matter of time too. */
  random(): number
}

/** The longest delay that Node's timers know; a longer one is cut, and whoever set it looks again then. */
const LONGEST_MS = 2 ** 31 - 1

/** A machine that was asleep, a process that was stopped (SIGSTOP) or a loop that was blocked for longer than this did not watch meanwhile. */
const STALL_MS = 5000
/** Often enough that no time without work looks like a stall. */
const BEAT_MS = 1000
/** How fast a difference to the wall clock is made up for: an hour in a day. NTP slews slower; it also differs less. */
const SLEW = 0.05

export interface TimeSources {
  /** Milliseconds since 1970, which may step. */
  wall(): number
  /** Milliseconds of a clock that never steps. */
  monotonic(): number
}

/**
 * Time as the engine counts it: as long as it watches, a second is a second, whatever is done to the machine's clock. A step of the wall
 * clock is made up for slowly, and time in which nobody watched does not count at first, so that neither ends a lease whose holder could not
 * renew it. Never goes back.
 */
export function steadyTime({ wall, monotonic }: TimeSources): () => number {
  let time = wall()
  let seen = monotonic()
  return () => {
    const at = monotonic()
    const passed = Math.min(Math.max(0, at - seen), STALL_MS)
    seen = at
    const behind = wall() - (time + passed)
    time += passed + Math.min(Math.max(behind, -passed * SLEW), passed * SLEW)
    return Math.floor(time)
  }
}

const now = steadyTime({ wall: Date.now, monotonic: () => performance.now() })
let beating = false

export const systemClock: Clock = {
  now: () => {
    if (!beating) {
      beating = true
      setInterval(now, BEAT_MS).unref()
    }
    return now()
  },
  wall: Date.now,
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), LONGEST_MS))
    return () => clearTimeout(timer)
  },
  random: () => Math.random(),
}
