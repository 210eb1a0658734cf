/**
 * The run log on the wire, `application/vnd.muster.log`: frames of u8 kind, u64 BE position after this frame, u32 BE length, bytes.
 * Kind 1 and 2 carry stdout and stderr, 3 says only that the connection lives, 0 is the last frame: its bytes are JSON, `{ complete, problem? }`.
 * A connection that ends without a frame of kind 0 was cut off: go on from the last position. As NDJSON: one object per line. As
 * server-sent events: `stdout` and `stderr` with base64 data, whose id is the position after them, and `end` with JSON.
 */
import type { LogPiece } from '../engine/runs-api.ts'
import type { ProblemBody } from './problems.ts'

export const LOG_TYPE = 'application/vnd.muster.log'
export const NDJSON_TYPE = 'application/x-ndjson'
export const SSE_TYPE = 'text/event-stream'

export type LogEvent = { piece: LogPiece } | { beat: true } | { end: { next: number; complete: boolean; problem?: ProblemBody } }

const HEAD_BYTES = 13

export function encodeFrame(event: LogEvent): Uint8Array {
  if ('beat' in event) return frame(3, 0, none)
  if ('end' in event) {
    const { next, ...end } = event.end
    return frame(0, next, Buffer.from(JSON.stringify(end)))
  }
  return frame(event.piece.stream === 'stdout' ? 1 : 2, event.piece.next, event.piece.data)
}

export function encodeLine(event: LogEvent): Uint8Array {
  if ('beat' in event) return Buffer.from('\n')
  if ('end' in event) return Buffer.from(`${JSON.stringify({ end: true, ...event.end })}\n`)
  const { stream, next, data } = event.piece
  return Buffer.from(`${JSON.stringify({ stream, next, base64: Buffer.from(data).toString('base64') })}\n`)
}

export function encodeEvent(event: LogEvent): Uint8Array {
  if ('beat' in event) return Buffer.from(':\n\n')
  if ('end' in event) return sse(event.end.next, 'end', JSON.stringify(event.end))
  const { stream, next, data } = event.piece
  return sse(next, stream, Buffer.from(data).toString('base64'))
}

function sse(id: number, event: string, data: string): Uint8Array {
  return Buffer.from(`id: ${id}\nevent: ${event}\ndata: ${data}\n\n`)
}

const none = new Uint8Array()

function frame(kind: number, position: number, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + body.length)
  bytes.writeUInt8(kind, 0)
  bytes.writeBigUInt64BE(BigInt(position), 1)
  bytes.writeUInt32BE(body.length, 9)
  bytes.set(body, HEAD_BYTES)
  return bytes
}
