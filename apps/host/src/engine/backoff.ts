/** Delays between tries. Pure: the random number comes in. */

export interface BackoffCurve {
  /** Upper bound of the first delay. */
  baseMs: number
  /** Upper bound of any delay. */
  capMs: number
}

/** Launch: the first repeat soon, for a lost answer; not more than every 30 s while a vendor is down. */
export const launchBackoff: BackoffCurve = { baseMs: 500, capMs: 30_000 }
/** Terminate: as launch, but never given up, so the cap is what an outage of days costs in calls. */
export const terminateBackoff: BackoffCurve = { baseMs: 500, capMs: 60_000 }
/** A pool whose workers keep failing to start: slower, each try costs money. */
export const poolBackoff: BackoffCurve = { baseMs: 2000, capMs: 300_000 }
/** A provider that refuses our rights or a kind of worker, or whose watch or list fails. */
export const providerBackoff: BackoffCurve = { baseMs: 5000, capMs: 300_000 }
/** Watch streams end by themselves at their deadline; a broken one comes back within seconds. */
export const watchBackoff: BackoffCurve = { baseMs: 200, capMs: 30_000 }

/**
 * Full jitter: a uniform delay between 0 and min(cap, base · 2^(failures-1)). `failures` counts from 1.
 * Source: Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015).
 */
export function fullJitter(curve: BackoffCurve, failures: number, random: number): number {
  return Math.round(random * ceiling(curve, failures))
}

/** The upper bound itself: for polling, where spreading is done by the times the things began. */
export function ceiling(curve: BackoffCurve, failures: number): number {
  // 2^30 is above every cap here; a larger exponent would only lose precision.
  return Math.min(curve.capMs, curve.baseMs * 2 ** Math.min(Math.max(failures, 1) - 1, 30))
}

/** What failed by a defect of ours is done again after this, and not only reported: nothing else would ever do it. */
export const defectPauseMs = 5000

/** A vendor may ask for a pause, but not for one in which workers that should end cost money for hours. */
const LONGEST_ASKED_MS = 600_000

/** The pause that an error asks for, within reason; `otherwise` where it asks for none. */
export function askedPause(error: { retryAfterMs: number | undefined }, otherwise: number): number {
  return Math.min(error.retryAfterMs ?? otherwise, LONGEST_ASKED_MS)
}

/** A vendor without capacity is asked again after 30 s, then ever more rarely, at most every 10 minutes. */
const exhaustion: BackoffCurve = { baseMs: 30_000, capMs: 600_000 }

/** What is remembered of a (provider, shape) that had no capacity. */
export interface Exhausted {
  until: number
  times: number
}

/** The memory after one more refusal at `now`. It fades: a quiet time as long as the last pause halves the count. */
export function exhaust(before: Exhausted | undefined, now: number): Exhausted {
  if (before === undefined) return { until: now + exhaustion.baseMs, times: 1 }
  const quiet = now - before.until
  const times = quiet >= ceiling(exhaustion, before.times) ? Math.max(1, Math.floor(before.times / 2)) : before.times + 1
  return { until: now + ceiling(exhaustion, times), times }
}
