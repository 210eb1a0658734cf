/**
 * A place in a container's log that survives everybody: what a cursor means. Pure.
 *
 * An engine's log is a list of entries (a line, or a part of at most 16 KiB of a longer one), each with its stream and time. It can be
 * read from a time on, and times are neither unique nor in order: both streams are written by their own threads, all parts of a line
 * carry the time of the first, and a clock may be set back. So a cursor says: of all entries from second S on, so many of each stream
 * were seen, and these lines were open. The engine applies the same filter to the same list every time, which makes counting exact. S
 * follows at a distance, so that the entries to read again stay few.
 *
 * An engine that begins files anew breaks this: what it sends as it comes may leave out a file, and old files go. So a cursor has the times
 * of the last entries too: where counting ends at another one, the files are asked, and where those do not agree either, time decides.
 */
import { type OutputStream, ProviderError } from '@muster/core'
import type { LogLeap } from './leap.ts'
import { isBefore, type LogOrder } from './order.ts'

/** Steps in which S follows, in seconds. */
const STEP_S = 30
/** How far S stays behind, in seconds: a clock set back by less loses nothing. */
const LAG_S = 90
/** The most that an engine's file has for an entry beside its text: json-file's names, its stream and time. */
const ENTRY_BYTES = 100

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
   * Takes the next entry; answers the bytes to hand on, none for an entry that was handed on before. Undefined: it does not stand where the
   * next one must, and nothing was taken.
   */
  take(entry: LogEntry): Buffer[] | undefined
  /** Nothing more comes. False: fewer than were handed on before. */
  end(): boolean
  /** There are or were entries before the last one that were never handed on. */
  readonly gap: boolean
  /** Resumes after everything that was taken. */
  cursor(): string
}

const streams = ['stdout', 'stderr'] as const
const newline = Buffer.from('\n')

export interface Reading {
  order: LogOrder
  leap: LogLeap
  /** `live`: the engine sends entries as they come, and may go back or leave some out. `times`: what was handed on is told by its time alone. */
  by: 'live' | 'files' | 'times'
}

interface OpenLine {
  time: string
  second: number
}

/**
 * Older engines (seen in 20.10) drop the newline that ends a line of more than one part. Parts of one line have one time, so that the
 * next entry of the stream shows it, and it is put back. After the very last line nothing shows it: there it stays away.
 */
export function createLogPosition(cursor: string | undefined, { order, leap, by }: Reading): LogPosition {
  const start: Place = cursor === undefined ? { since: 0, seen: [0, 0], open: 0, bytes: 0, last: [] } : parseCursor(cursor)
  let { since, bytes } = start
  const before = createBefore(start, by)
  const last: (string | undefined)[] = []
  const seen = [0, 0]
  /** Entries of each stream by step, from `since` on. */
  const steps = new Map<number, [number, number]>()
  const open: (OpenLine | undefined)[] = [undefined, undefined]
  let newest = 0
  const secondOf = memoSecond()
  order.begin()
  leap.begin()

  function count(index: number, { time, second }: OpenLine): void {
    // It came too late for the filter of this cursor, so that it will not be read again.
    if (second < since) return
    last[index] = time
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
    if (step * STEP_S <= since || before.isLeft(0) || before.isLeft(1)) return
    since = step * STEP_S
    for (const [at, counted] of steps) {
      if (at >= step) continue
      for (const index of [0, 1]) seen[index] = (seen[index] ?? 0) - (counted[index] ?? 0)
      steps.delete(at)
    }
    // On a clock that was set back, the last one may be before others that still count.
    for (const index of [0, 1]) if (secondOf(last[index] ?? '') < since) last[index] = undefined
  }

  return {
    since: start.since,
    get gap() {
      return before.gap
    },
    end: before.end,
    take({ stream, time, data }) {
      const index = streams.indexOf(stream)
      const second = secondOf(time)
      const line = open[index]
      const placed = { stream, time, continues: line?.time === time }
      const old = before.has(index, time)
      if (old === undefined) return undefined
      if (by === 'live' && !old && leap.over(time, bytes)) return undefined
      // What is older than S would not be read again: it is taken at its word.
      if (by !== 'live' || old || second < since) order.note(placed)
      else if (!order.fits(placed)) return undefined
      leap.note(time)
      const lost = line !== undefined && line.time !== time
      open[index] = data.at(-1) === 0x0a ? undefined : { time, second }
      count(index, { time, second })
      if (old) {
        before.pass(index)
        // What ended the line may stand before S, on a clock that was set back.
        if (!before.isLeft(index) && (start.open & (1 << index)) === 0) open[index] = undefined
        return []
      }
      bytes += data.length + ENTRY_BYTES
      return lost ? [newline, data] : [data]
    },
    cursor() {
      const left = [0, 1].map((index) => before.isLeft(index))
      const counts = left.map((is, index) => (is ? start.seen : seen)[index] ?? 0)
      const opened = left.reduce((sum, is, index) => {
        const bit = 1 << index
        return sum + (is ? start.open & bit : open[index] === undefined ? 0 : bit)
      }, 0)
      const times = left.map((is, index) => (is ? start.last : last)[index] ?? '')
      return `${[since, ...counts, opened].join('.')}|${bytes}|${times.join('|')}`
    },
  }
}

/** What was handed on before, of each stream. */
interface Before {
  /** Is it one of those? Undefined: it cannot stand here. */
  has(index: number, time: string): boolean | undefined
  /** It is, and was taken. */
  pass(index: number): void
  isLeft(index: number): boolean
  end(): boolean
  readonly gap: boolean
}

function createBefore({ seen, last }: Place, by: Reading['by']): Before {
  const left = [...seen]
  /** By time: the last one, until one comes that is newer. */
  const until = by === 'times' ? seen.map((count, index) => (count > 0 ? last[index] : undefined)) : []
  const passed = [0, 0]
  const found = [false, false]
  let gap = false

  function isUntil(index: number, { time, end }: { time: string; end: string }): boolean {
    if (isBefore(end, time)) {
      if (found[index] !== true) gap = true
      until[index] = undefined
      left[index] = 0
      return false
    }
    passed[index] = (passed[index] ?? 0) + 1
    if (time !== end) return true
    found[index] = true
    // Where old files went, fewer are left than were handed on.
    if ((passed[index] ?? 0) > (seen[index] ?? 0)) gap = true
    return true
  }

  return {
    has(index, time) {
      const end = until[index]
      if (end !== undefined) return isUntil(index, { time, end })
      const count = left[index] ?? 0
      const known = last[index]
      if (count === 0 || known === undefined) return count > 0
      return count === 1 && time !== known ? undefined : true
    },
    pass(index) {
      if (until[index] === undefined) left[index] = (left[index] ?? 0) - 1
    },
    isLeft: (index) => (left[index] ?? 0) > 0,
    end() {
      if (by !== 'times') return left.every((count) => count === 0)
      left.fill(0)
      return true
    },
    get gap() {
      return gap
    },
  }
}

interface Place {
  since: number
  seen: number[]
  /** Streams with an open line: 1 stdout, 2 stderr. */
  open: number
  /** Of the log so far, as a file has them at most. */
  bytes: number
  /** Time of the last counted entry of each stream, where that is known. */
  last: (string | undefined)[]
}

const FORM = /^(\d{1,12})\.(\d{1,15})\.(\d{1,15})\.([0-3])(?:\|(\d{1,17})\|([\dTZ:.+-]{20,40})?\|([\dTZ:.+-]{20,40})?)?$/

function parseCursor(cursor: string): Place {
  const match = FORM.exec(cursor)
  if (match === null) throw new ProviderError('invalid-spec', 'not a cursor of this provider', { effect: 'none', path: 'cursor' })
  const [since = 0, stdout = 0, stderr = 0, open = 0, bytes = 0] = match.slice(1, 6).map((digits) => Number(digits ?? 0))
  return { since, seen: [stdout, stderr], open, bytes, last: [match[6], match[7]] }
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
