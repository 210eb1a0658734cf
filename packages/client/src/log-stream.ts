/** A run's output as it arrives, over as many connections as it takes: every byte once. */
import type { IncomingMessage } from 'node:http'
import type { Caller } from './call.ts'
import { MusterError } from './errors.ts'
import type { Problem } from './generated/api.ts'

export interface LogChunk {
  stream: 'stdout' | 'stderr'
  data: Uint8Array
  /** Position after this chunk: `from` of a later read goes on here. */
  next: number
}

export interface LogReadOptions {
  /** 0 (default), or `next` of a chunk of this log. */
  from?: number
  /** Stay until every byte has come. Default true. */
  follow?: boolean
  signal?: AbortSignal
}

/** u8 kind, u64 BE position after the frame, u32 BE length. */
const HEAD_BYTES = 13
/** The host never sends a larger one; a larger length is no log. */
const FRAME_BYTES = 1_048_576
/** Three beats of the server. */
const SILENCE_MS = 45_000
const LOG_TYPE = 'application/vnd.muster.log'

/** Ends when the log is complete, or, without `follow`, at the end of what is there. */
export async function* readLog(
  caller: Caller,
  id: string,
  { from = 0, follow = true, signal }: LogReadOptions = {},
): AsyncGenerator<LogChunk, void, undefined> {
  let at = from
  let again = caller.patience(signal)
  for (;;) {
    let cut: unknown
    const answer = await caller.open('readLog', {
      params: { id },
      query: { from: at, follow: follow ? 'true' : 'false' },
      headers: { accept: LOG_TYPE },
      silenceMs: SILENCE_MS,
      ...(signal === undefined ? {} : { signal }),
    })
    try {
      for await (const frame of framesOf(answer)) {
        if (frame.kind === 3) continue
        if (frame.kind === 0) {
          if (isComplete(frame.data) || !follow) return
          break
        }
        at = frame.next
        again = caller.patience(signal)
        yield { stream: frame.kind === 1 ? 'stdout' : 'stderr', data: frame.data, next: frame.next }
      }
      cut = Object.assign(new Error('the log was cut off'), { code: 'ECONNRESET' })
    } catch (error) {
      if (error instanceof MusterError) throw error
      cut = error
    } finally {
      answer.destroy()
    }
    await again(cut)
  }
}

interface Frame {
  kind: number
  next: number
  data: Uint8Array
}

/** Whole frames only: what a cut connection left of the last one comes again. */
export async function* framesOf(source: IncomingMessage | AsyncIterable<Uint8Array>): AsyncGenerator<Frame, void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of source) {
    rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer])
    while (rest.length >= HEAD_BYTES) {
      const kind = rest.readUInt8(0)
      const length = rest.readUInt32BE(9)
      if (kind > 3 || length > FRAME_BYTES) throw new MusterError('protocol', 'the log is not in the form of this API')
      if (rest.length < HEAD_BYTES + length) break
      yield { kind, next: Number(rest.readBigUInt64BE(1)), data: rest.subarray(HEAD_BYTES, HEAD_BYTES + length) }
      rest = rest.subarray(HEAD_BYTES + length)
    }
  }
}

function isComplete(data: Uint8Array): boolean {
  let end: { complete?: unknown; problem?: Problem }
  try {
    end = JSON.parse(Buffer.from(data).toString()) as typeof end
  } catch (cause) {
    throw new MusterError('protocol', 'the log ends in another form than that of this API', { cause })
  }
  const { problem } = end
  if (problem !== undefined) throw new MusterError(problem.code, problem.detail, { status: problem.status, problem })
  return end.complete === true
}
