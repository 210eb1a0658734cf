/** A clock turned by hand: timers run only when the test moves time, in order. */
import type { Clock } from '../clock.ts'

export interface TestClock extends Clock {
  /** Moves to the next timer that is due at most at `until`, runs it, and says whether there was one. */
  step(until: number): boolean
  /** Counts timers set: a sign of life for whoever waits for quiet. */
  readonly activity: number
  /** Sets the machine's clock, from now on so many ms ahead of the steady one. */
  setAhead(ms: number): void
}

export function testClock(start = 1_800_000_000_000, random: () => number = () => 0.5): TestClock {
  let now = start
  let serial = 0
  let ahead = 0
  let timers: { at: number; serial: number; run: () => void }[] = []
  return {
    now: () => now,
    wall: () => now + ahead,
    setAhead: (ms) => void (ahead = ms),
    random,
    get activity() {
      return serial
    },
    after: (ms, run) => {
      const timer = { at: now + Math.max(0, Math.ceil(ms)), serial: serial++, run }
      timers.push(timer)
      return () => {
        timers = timers.filter((one) => one !== timer)
      }
    },
    step: (until) => {
      let first: (typeof timers)[number] | undefined
      for (const timer of timers)
        if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.serial < first.serial)) first = timer
      if (first === undefined || first.at > until) {
        now = Math.max(now, until)
        return false
      }
      timers.splice(timers.indexOf(first), 1)
      now = Math.max(now, first.at)
      first.run()
      return true
    },
  }
}
