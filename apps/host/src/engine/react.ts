/** What to do after a failed launch: the table of error codes (core's `reactions`) with time and attempts put in. Pure. */
import { type ProviderError, reactions, type ThrottleScope } from '@muster/core'
import { fullJitter, launchBackoff } from './backoff.ts'

export interface LaunchTry {
  /** Attempts so far, this one too. */
  attempt: number
  now: number
  /** When the worker must be ready. */
  deadline: number
  random: number
  /** May an earlier attempt of this id have had an effect? */
  doubt: boolean
  /** What its pool needs at the provider was not found, and is prepared anew since. */
  renewed: boolean
}

export type LaunchReaction =
  /** The same id again. `counts` false: the call was never made, so it is no attempt. */
  | { kind: 'retry'; delayMs: number; hold?: ThrottleScope; counts: boolean }
  | {
      kind: 'give-up'
      /** Something may exist: terminated and confirmed gone before the record closes. */
      doubt: boolean
      next: 'placement' | 'fail'
    }

/** A conflict that stays after this many looks is one with something that is not this worker. */
const CONFLICT_TRIES = 3
/** Until the host's term is renewed, or a plugin process is back. */
const NOT_SENT_MS = 500

export function reactToLaunch(error: ProviderError, given: LaunchTry): LaunchReaction {
  const doubt = given.doubt || error.effect === 'possible'
  const next = reactions[error.code].nextPlacement ? 'placement' : 'fail'
  if (error.code === 'cancelled')
    return error.effect === 'none'
      ? { kind: 'retry', delayMs: error.retryAfterMs ?? NOT_SENT_MS, counts: false }
      : { kind: 'give-up', doubt, next: 'placement' }
  if (error.code === 'not-found' && given.renewed && given.now < given.deadline)
    return { kind: 'retry', delayMs: 0, counts: true }
  // The table decides what may be repeated; a conflict that outlives its repeats concerns this id only, so a new id may try.
  const conflict = error.code === 'conflict'
  if (!reactions[error.code].retrySame) return { kind: 'give-up', doubt, next }
  const jitter = fullJitter(launchBackoff, given.attempt, given.random)
  const delayMs = Math.max(error.retryAfterMs ?? 0, jitter)
  if (given.now + delayMs >= given.deadline || (conflict && given.attempt >= CONFLICT_TRIES))
    return { kind: 'give-up', doubt: doubt || conflict, next: conflict || error.code === 'throttled' ? 'placement' : next }
  return { kind: 'retry', delayMs, counts: true, ...(error.code === 'throttled' ? { hold: error.scope ?? 'launch' } : {}) }
}
