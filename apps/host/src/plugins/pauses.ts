/** How long a provider whose process fell is left alone. Milliseconds. */

const second = 1000
const minute = 60 * second
/** The first restart is near at once, a broken plugin costs one start in half a minute. */
const restartBaseMs = 200
const restartCapMs = 30 * second
/** A plugin that broke the protocol is left alone this long, then tried once more, twice as long each time. */
const quarantineBaseMs = 5 * minute
const quarantineCapMs = 60 * minute

/** With full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ */
export function restartPauseMs(faults: number, random: number): number {
  return random * Math.min(restartCapMs, restartBaseMs * 2 ** faults)
}

export function quarantineMs(violations: number): number {
  return Math.min(quarantineCapMs, quarantineBaseMs * 2 ** (violations - 1))
}
