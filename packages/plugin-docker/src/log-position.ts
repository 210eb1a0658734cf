/**
 * A place in a container's log that survives everybody: what a cursor means. Pure.
 *
 * An engine's log is a list of entries (a line, or a part of at most 16 KiB of a longer one), each with its stream and time. It can be
 * read from a time on, and times are neither unique nor in order: both streams are written by their own threads, all parts of a line
 * carry the time of the first, and a clock may be set back. So a cursor says: of all entries from second S on, so many of each stream
 * were seen, and these lines were open. The engine applies the same filter to the same list every time, which makes counting exact. S
 * follows at a distance, so that the entries to read again stay few.
 */
import { type OutputStream, ProviderError } from '@muster/core'
import type { LogOrder } from './log-order.ts'

/** Steps in which S follows, in seconds. */
const STEP_S = 30
/** How far S stays behind, in seconds: a clock set back by less loses nothing. */
const LAG_S = 90

export interface LogEntry {
  stream: OutputStream
  /** As the engine wrote it, RFC 3339 with nanoseconds. */
  time: string
  /** With its newline, unless it is a part of a longer line. */
  data: Buffer
}

export interface LogPosition {
  /** Entries from this second on are to be asked for; 0 for all. */
  readonly since: number
  /**
   * Takes the next entry; answers the bytes to hand on, none for an entry that was handed on before. Undefined: the engine has gone back,
   * and nothing was taken.
   */
  take(entry: LogEntry): Buffer[] | undefined
  /** Resumes after everything that was taken. */
  cursor(): string
}

const streams = ['stdout', 'stderr'] as const
const newline = Buffer.from('\n')

export interface Reading {
  order: LogOrder
  /** Does the engine send entries as they come? Then it may go back. */
  live: boolean
}

interface OpenLine {
  time: string
  second: number
}

/**
 * Older engines (seen in 20.10) drop the newline that ends a line of more than one part. Parts of one line have one time, so that the
 * next entry of the stream shows it, and it is put back. After the very last line nothing shows it: there it stays away.
 */
export function createLogPosition(cursor: string | undefined, { order, live }: Reading): LogPosition {
  const start = cursor === undefined ? { since: 0, seen: [0, 0], open: 0 } : parseCursor(cursor)
  let { since } = start
  const skip = [...start.seen]
  const seen = [0, 0]
  /** Entries of each stream by step, from `since` on. */
  const steps = new Map<number, [number, number]>()
  const open: (OpenLine | undefined)[] = [undefined, undefined]
  let newest = 0
  const secondOf = memoSecond()
  order.begin()

  function count(index: number, second: number): void {
    // It came too late for the filter of this cursor, so that it will not be read again.
    if (second < since) return
    const step = Math.floor(second / STEP_S)
    const counted = steps.get(step) ?? [0, 0]
    counted[index] = (counted[index] ?? 0) + 1
    steps.set(step, counted)
    seen[index] = (seen[index] ?? 0) + 1
    if (step > newest) {
      newest = step
      advance()
    }
  }

  function advance(): void {
    // The parts of an open line still come with the line's first time.
    const oldest = Math.min(newest * STEP_S - LAG_S, ...open.map((line) => line?.second ?? Infinity))
    const step = Math.floor(oldest / STEP_S)
    if (step * STEP_S <= since || skip.some((left) => left > 0)) return
    since = step * STEP_S
    for (const [at, counted] of steps) {
      if (at >= step) continue
      for (const index of [0, 1]) seen[index] = (seen[index] ?? 0) - (counted[index] ?? 0)
      steps.delete(at)
    }
  }

  return {
    since: start.since,
    take({ stream, time, data }) {
      const index = streams.indexOf(stream)
      const second = secondOf(time)
      const line = open[index]
      const placed = { stream, time, continues: line?.time === time }
      // What is older than S would not be read again: it is taken at its word.
      if (!live || (skip[index] ?? 0) > 0 || second < since) order.note(placed)
      else if (!order.fits(placed)) return undefined
      const lost = line !== undefined && line.time !== time
      open[index] = data.at(-1) === 0x0a ? undefined : { time, second }
      count(index, second)
      if ((skip[index] ?? 0) > 0) {
        skip[index] = (skip[index] ?? 0) - 1
        // What ended the line may stand before S, on a clock that was set back.
        if (skip[index] === 0 && (start.open & (1 << index)) === 0) open[index] = undefined
        return []
      }
      return lost ? [newline, data] : [data]
    },
    cursor: () => `${since}.${seen[0]}.${seen[1]}.${(open[0] === undefined ? 0 : 1) + (open[1] === undefined ? 0 : 2)}`,
  }
}

function parseCursor(cursor: string): { since: number; seen: number[]; open: number } {
  const match = /^(\d{1,12})\.(\d{1,15})\.(\d{1,15})\.([0-3])$/.exec(cursor)
  if (match === null) throw new ProviderError('invalid-spec', 'not a cursor of this provider', { effect: 'none', path: 'cursor' })
  const [since = 0, stdout = 0, stderr = 0, open = 0] = match.slice(1).map(Number)
  return { since, seen: [stdout, stderr], open }
}

/** The second of an engine's time; parsing one for each of a million lines would be the dearest part of reading them. */
function memoSecond(): (time: string) => number {
  let last = ''
  let second = 0
  return (time) => {
    const text = time.slice(0, 19)
    if (text !== last) [last, second] = [text, Date.parse(`${text}Z`) / 1000]
    return second
  }
}
