/** Compares the clock that decides with the machine's: a condition while they differ, since a deadline that people read moves with that. */
import type { Conditions } from './api.ts'
import type { Clock } from './clock.ts'

export interface ClockWatchOptions {
  conditions: Pick<Conditions, 'raise' | 'clear'>
  clock: Pick<Clock, 'now' | 'wall' | 'after'>
}

const INTERVAL_MS = 10_000
/** In words that change seldom: each change is written down. Less is seen by nobody. */
const STEPS = [
  [3_600_000, 'an hour'],
  [600_000, '10 minutes'],
  [60_000, 'a minute'],
  [10_000, '10 seconds'],
] as const

const key = { scope: 'host', name: 'clock', type: 'clock-differs' } as const

/** Looks now and every ten seconds. Returns what stops it. */
export function startClockWatch({ conditions, clock }: ClockWatchOptions): () => Promise<void> {
  let cancel = (): void => undefined
  function round(): void {
    cancel = clock.after(INTERVAL_MS, round)
    const ahead = clock.now() - clock.wall()
    const step = STEPS.find(([ms]) => Math.abs(ahead) > ms)
    if (step === undefined) return conditions.clear(key)
    conditions.raise({
      ...key,
      message: `deadlines are counted by a clock that is more than ${step[1]} ${ahead < 0 ? 'behind' : 'ahead of'} the machine's: that was set, or the daemon stood still`,
      hint: "Nothing needs to be done: all times that you read are the machine's. It is made up for by 3 seconds a minute, so that no lease or deadline ends early. A restart of the daemon does it at once.",
    })
  }
  round()
  return async () => cancel()
}
