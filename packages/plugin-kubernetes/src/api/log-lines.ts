/** A log as a kubelet writes it with times: each line begins with one. */
import { crc32 } from 'node:zlib'
import { ApiFailure, toFailure } from './failure.ts'

/** A part of a line; most lines are one piece. */
export interface LogPiece {
  /** What tells this line from others: its time, to the nanosecond, and a sum over its begin. */
  id: string
  /** The second of its time, since 1970. */
  second: number
  /** Without the time; with the newline, where there is one. */
  bytes: Buffer
  begins: boolean
  ends: boolean
}

/** So much of a line stands for it: beside a time of nanoseconds this tells apart what one clock tick holds. */
const ID_BYTES = 64
const PIECE_BYTES = 32_768
/** A time has 20 to 35 characters. */
const MOST_TIME = 40
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/

/**
 * The pieces of each chunk as they come, so that neither a long line nor a fast log is held. Rejects with an ApiFailure when the stream
 * breaks, or says something that is no line of a log: a kubelet tells its own failures so, with status 200.
 */
export async function* readLog(stream: AsyncIterable<Uint8Array>): AsyncGenerator<LogPiece[]> {
  let rest: Buffer = Buffer.alloc(0)
  let open: { id: string; second: number } | undefined
  try {
    for await (const chunk of stream) {
      // A piece is never larger than a message may be.
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
        const part = chunk.subarray(at, at + PIECE_BYTES)
        rest = rest.length === 0 ? Buffer.from(part) : Buffer.concat([rest, part])
        const pieces = cut(false)
        if (pieces.length > 0) yield pieces
      }
    }
  } catch (error) {
    throw toFailure(error)
  }
  const pieces = cut(true)
  if (pieces.length > 0) yield pieces

  function cut(last: boolean): LogPiece[] {
    const pieces: LogPiece[] = []
    while (rest.length > 0) {
      const newline = rest.indexOf(10)
      const ends = newline !== -1
      const upTo = ends ? newline + 1 : rest.length
      if (open !== undefined) {
        pieces.push({ ...open, bytes: rest.subarray(0, upTo), begins: false, ends })
      } else {
        if (!ends && !last && rest.length < MOST_TIME + ID_BYTES) break
        const begun = begin(rest.subarray(0, upTo))
        open = begun
        pieces.push({ ...begun, begins: true, ends })
      }
      if (ends) open = undefined
      rest = rest.subarray(upTo)
    }
    return pieces
  }
}

function begin(line: Buffer): { id: string; second: number; bytes: Buffer } {
  // A line without content may come without its space.
  const space = line.subarray(0, MOST_TIME).indexOf(32)
  const end = space === -1 ? (line.at(-1) === 10 ? line.length - 1 : line.length) : space
  const time = line.toString('latin1', 0, Math.min(end, MOST_TIME))
  const match = TIME.exec(time)
  if (match === null)
    throw new ApiFailure(`instead of a log: ${line.toString('utf8').trim().slice(0, 300)}`, { code: 'NO_LOG', sent: true })
  const bytes = line.subarray(space === -1 ? end : space + 1)
  const sum = crc32(bytes.subarray(0, Math.min(ID_BYTES, bytes.length))).toString(16)
  return { id: `${time}~${sum}`, second: secondOf(match[1] ?? '', match[2] ?? ''), bytes }
}

let lastTime = ''
let lastSecond = 0

/** Parsing one for each of a million lines would be the dearest part of reading them. */
function secondOf(date: string, zone: string): number {
  if (date + zone !== lastTime) [lastTime, lastSecond] = [date + zone, Date.parse(date + zone) / 1000]
  return lastSecond
}
