/**
 * Whether an engine may have left out a file of a log that it sends as it comes. Seen in 20.10: where the log goes on in the next file, the
 * engine opens the newest one, and by then there may be one between. A file takes its time to be written: entries that are closer than that
 * have none between them. Pure.
 */
import { isBefore } from './order.ts'

export interface LogLeap {
  /** The log is read anew. */
  begin(): void
  /** The next entry was waited for so long: then the engine had no more. */
  waited(ms: number): void
  note(time: string): void
  /** May a file be left out between the newest entry and this one? `bytes`: so many may be in the files before it. */
  over(time: string, bytes: number): boolean
}

/** No engine writes faster, in bytes a millisecond. */
const FASTEST = 1_000_000
/** An engine that gets no turn on a busy machine has nothing to send either, and may fall behind meanwhile. No machine is that busy for longer. */
const IDLE_MS = 5000

/** `fileBytes`: the size at which a file ends; Infinity where there is one only. */
export function createLogLeap(fileBytes: number): LogLeap {
  let newest: string | undefined
  let idle = 0
  return {
    begin() {
      newest = undefined
      idle = 0
    },
    waited: (ms) => void (idle = ms < IDLE_MS ? 0 : ms),
    note(time) {
      idle = 0
      if (newest === undefined || isBefore(newest, time)) newest = time
    },
    over(time, bytes) {
      if (bytes < fileBytes || newest === undefined) return false
      return millisecondsOf(time) - millisecondsOf(newest) - idle > fileBytes / FASTEST
    },
  }
}

function millisecondsOf(time: string): number {
  const fraction = /^\.\d+/.exec(time.slice(19))?.[0] ?? ''
  return Date.parse(`${time.slice(0, 19)}Z`) + Number(`0${fraction}`) * 1000
}

const units: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }

/** The size at which a log's file ends, by the settings that its container was made with. The engine's own defaults are not among them. Pure. */
export function fileBytesOf(config: { Config?: Record<string, string> | null } | undefined): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgt]?)i?(b?)$/i.exec(config?.Config?.['max-size'] ?? '')
  return match === null ? Infinity : Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? 1)
}
