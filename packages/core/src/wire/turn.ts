/** How much one turn of the event loop takes of one peer: for so long everything else in this process waits. */
import { setImmediate } from 'node:timers'

/** Bytes after which the rest waits for the next turn of the event loop, so that one who sends without end keeps nobody else waiting. */
export const turnBytes: number = 256 * 1024

export interface TurnMeter {
  /** In this turn, on top of what was told before. False: it is enough for one. */
  took(bytes: number, frames: number): boolean
  /** The most of one turn so far, each by itself. */
  readonly busiest: { bytes: number; frames: number }
}

export function createTurnMeter(): TurnMeter {
  const busiest = { bytes: 0, frames: 0 }
  let now: { bytes: number; frames: number } | undefined
  return {
    busiest,
    took(bytes, frames) {
      if (now === undefined) {
        now = { bytes: 0, frames: 0 }
        // After all reads of this turn.
        setImmediate(() => (now = undefined))
      }
      now.bytes += bytes
      now.frames += frames
      busiest.bytes = Math.max(busiest.bytes, now.bytes)
      busiest.frames = Math.max(busiest.frames, now.frames)
      return now.bytes < turnBytes
    },
  }
}
