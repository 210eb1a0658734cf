/**
 * How far a log was read, so that it goes on exactly there. Pure.
 *
 * A log is asked for again by time, to the second, so that what comes begins with lines that were read before. The lines of two streams stand
 * in one file by the moment they were written, not by their times: what is asked for goes back two seconds, and what was
 * read of that is known by its number. Where the file was rotated meanwhile, the begin differs, and the last line that was read is looked for.
 */
import { ApiFailure } from './failure.ts'
import type { LogPiece } from './log-lines.ts'

export interface LogPosition {
  /** Which start of the container: its restart count. */
  instance: number
  /** From which second on it is asked for; absent: from the begin. */
  since?: number
  /** Whole lines read with that time or a later one, the first of them, and the last of all. */
  seen: number
  first: string
  last: string
  /** Bytes read of the line after them. */
  part: number
}

/** Writers of stdout and stderr take the time before they wait for each other: milliseconds, on a machine that has nothing left for them seconds. */
const SLACK_SECONDS = 2
/** More than that is held of no log while its place is looked for. */
const MOST_HELD = 1024 * 1024

export function startOf(instance: number): LogPosition {
  return { instance, seen: 0, first: '', last: '', part: 0 }
}

const FORM = /^k1\|(\d+)\|(\d*)\|(\d+)\|([^|]{0,50})\|([^|]{0,50})\|(\d+)$/

/** At most 180 characters. */
export function formatPosition({ instance, since, seen, first, last, part }: LogPosition): string {
  return `k1|${instance}|${since ?? ''}|${seen}|${first}|${last}|${part}`
}

export function parsePosition(text: string): LogPosition {
  const match = FORM.exec(text)
  if (match === null) throw new ApiFailure('not a position of a log', { code: 'BAD_POSITION', sent: false })
  const [, instance, since, seen, first = '', last = '', part] = match
  return {
    instance: Number(instance),
    ...(since === '' ? {} : { since: Number(since) }),
    seen: Number(seen),
    first,
    last,
    part: Number(part),
  }
}

export interface LogPart {
  bytes: Buffer
  /** After these bytes. */
  position: LogPosition
  /** Something before them was lost: a rotation took it. */
  gap: boolean
}

/** One reading of a log from a position on. */
export interface Resumption {
  /** What of a piece is new. */
  take(piece: LogPiece): LogPart[]
  /** Lines are held until it is known whether they are new. */
  readonly holding: boolean
  /** What was read before was found again: it is the same log. */
  readonly matched: boolean
  /** Nothing more comes, or nothing has come for a while: what is held is new. */
  settle(): LogPart[]
}

/**
 * What it means that nothing of what was read is found again: a rotation took it, the log is of a new start, or it may be of another
 * start than was asked for, and none of it counts.
 */
export type Unmatched = 'rotated' | 'new' | 'other'

export function resumeFrom(from: LogPosition, unmatched: Unmatched = 'rotated'): Resumption {
  const window = createWindow(from.since ?? -Infinity)
  let position = from
  let mode: 'counting' | 'searching' | 'passing' = from.seen === 0 ? 'passing' : 'counting'
  let left = from.seen
  let skip = from.part
  let partOfLine = 0
  let held: LogPiece[] = []
  let heldBytes = 0
  let gap = false
  const lastSecond = Date.parse(from.last.split('~')[0] ?? '') / 1000

  const resumption: Resumption = {
    get matched() {
      return from.seen > 0 && mode === 'passing'
    },
    get holding() {
      return held.length > 0
    },
    take(piece) {
      if (mode === 'counting' && piece.begins && left === from.seen && piece.id !== from.first) mode = 'searching'
      if (mode === 'passing') return pass(piece)
      if (piece.ends) window.add(piece)
      if (mode === 'counting') {
        if (piece.ends) left--
        if (left === 0) mode = 'passing'
        return []
      }
      return search(piece)
    },
    settle() {
      if (held.length === 0) return []
      // None of it is the last line that was read.
      gap = unmatched === 'rotated'
      return unmatched === 'other' ? discard() : release()
    },
  }
  return resumption

  function search(piece: LogPiece): LogPart[] {
    if (piece.ends && piece.id === from.last) {
      held = []
      mode = 'passing'
      return []
    }
    held.push(piece)
    heldBytes += piece.bytes.length
    if (unmatched === 'other') return heldBytes > MOST_HELD ? discard() : []
    return piece.second > lastSecond + SLACK_SECONDS || heldBytes > MOST_HELD ? resumption.settle() : []
  }

  function discard(): LogPart[] {
    held = []
    heldBytes = 0
    return []
  }

  function release(): LogPart[] {
    const pieces = held
    held = []
    mode = 'passing'
    // The rest of the line that was read in part is not here either.
    skip = 0
    window.clear()
    return pieces.flatMap(pass)
  }

  function pass(piece: LogPiece): LogPart[] {
    const cut = Math.min(skip, piece.bytes.length)
    if (piece.begins) partOfLine = 0
    skip -= cut
    partOfLine += piece.bytes.length
    if (piece.ends) {
      skip = 0
      window.add(piece)
      position = { ...position, ...window.sum(), last: piece.id, part: 0 }
    } else position = { ...position, part: partOfLine }
    const bytes = piece.bytes.subarray(cut)
    if (bytes.length === 0) return []
    const part = { bytes, position, gap }
    gap = false
    return [part]
  }
}

/** The lines of the last seconds, by their seconds; none before `begin`, from which on all were read. */
function createWindow(begin: number): {
  add(line: LogPiece): void
  clear(): void
  sum(): Pick<LogPosition, 'seen' | 'first'> & { since: number }
} {
  const seconds = new Map<number, { count: number; first: string; index: number }>()
  let newest = -Infinity
  let index = 0
  return {
    add({ second, id }) {
      index++
      const of = seconds.get(second)
      if (of === undefined) seconds.set(second, { count: 1, first: id, index })
      else of.count++
      if (second <= newest) return
      newest = second
      for (const old of seconds.keys()) if (old < newest - SLACK_SECONDS) seconds.delete(old)
    },
    clear() {
      seconds.clear()
      newest = -Infinity
    },
    sum() {
      const since = Math.max(begin, newest - SLACK_SECONDS)
      let [seen, first, at] = [0, '', Infinity]
      for (const [second, of] of seconds) {
        if (second < since) continue
        seen += of.count
        if (of.index < at) [first, at] = [of.first, of.index]
      }
      return { since, seen, first }
    },
  }
}
