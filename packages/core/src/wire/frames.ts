/**
 * Frames: u32 BE length of what follows, u8 kind, body. Kind 0: one JSON-RPC message in UTF-8. Kind 1: u32 BE stream id
 * and raw bytes.
 */
import { WireViolation } from './close.ts'
import { maxFrameBytes } from './limits.ts'

const lengthBytes = 4
const kindMessage = 0
const kindData = 1
/** Kind and stream id. */
const dataHeadBytes = 5

/** One whole frame of a message. Throws RangeError over the cap: callers check {@link messageFits} first. */
export function encodeMessage(text: string): Buffer {
  const length = 1 + Buffer.byteLength(text)
  if (length > maxFrameBytes) throw new RangeError(`message of ${length} bytes; at most ${maxFrameBytes}`)
  const frame = Buffer.allocUnsafe(lengthBytes + length)
  frame.writeUInt32BE(length, 0)
  frame[lengthBytes] = kindMessage
  frame.write(text, lengthBytes + 1)
  return frame
}

/** Does a message of so many bytes fit into a frame? */
export function messageFits(bytes: number): boolean {
  return bytes + 1 <= maxFrameBytes
}

/** The head of a data frame; its `bytes` payload bytes follow it. */
export function encodeDataHead(stream: number, bytes: number): Buffer {
  const head = Buffer.allocUnsafe(lengthBytes + dataHeadBytes)
  head.writeUInt32BE(dataHeadBytes + bytes, 0)
  head[lengthBytes] = kindData
  head.writeUInt32BE(stream, lengthBytes + 1)
  return head
}

export interface FrameSink {
  message(body: Buffer): void
  data(stream: number, payload: Buffer): void
}

export interface FrameReader {
  /** Takes bytes as they come, split anywhere. Throws WireViolation. */
  push(chunk: Buffer): void
  /** Has a frame begun that is not whole yet? */
  readonly partial: boolean
  /** Whole frames so far. */
  readonly frames: number
}

/** Cuts a byte stream into frames. Holds one frame at most; a length over the cap is refused before anything is held. */
export function createFrameReader(sink: FrameSink): FrameReader {
  const length = Buffer.alloc(lengthBytes)
  let lengthHave = 0
  let body: Buffer | undefined
  let bodyHave = 0
  let frames = 0

  function deliver(frame: Buffer): void {
    frames++
    const kind = frame[0]
    if (kind === kindMessage) return sink.message(frame.subarray(1))
    if (kind !== kindData) throw new WireViolation('frame-kind', `frame of unknown kind ${kind}`)
    if (frame.length <= dataHeadBytes) throw new WireViolation('frame-empty', 'data frame without data')
    sink.data(frame.readUInt32BE(1), frame.subarray(dataHeadBytes))
  }

  function announced(): number {
    const bytes = length.readUInt32BE(0)
    if (bytes === 0) throw new WireViolation('frame-empty', 'frame without a kind')
    if (bytes > maxFrameBytes) throw new WireViolation('frame-too-big', `frame of ${bytes} bytes; at most ${maxFrameBytes}`)
    return bytes
  }

  return {
    get partial(): boolean {
      return lengthHave > 0
    },
    get frames(): number {
      return frames
    },
    push(chunk) {
      let at = 0
      while (at < chunk.length) {
        if (lengthHave < lengthBytes) {
          const taken = chunk.copy(length, lengthHave, at)
          lengthHave += taken
          at += taken
          if (lengthHave < lengthBytes) return
          announced()
        } else if (body === undefined) {
          const bytes = announced()
          if (chunk.length - at >= bytes) {
            lengthHave = 0
            deliver(chunk.subarray(at, at + bytes))
            at += bytes
          } else {
            body = Buffer.allocUnsafeSlow(bytes)
            bodyHave = 0
          }
        } else {
          const taken = chunk.copy(body, bodyHave, at)
          bodyHave += taken
          at += taken
          if (bodyHave < body.length) return
          const whole = body
          body = undefined
          lengthHave = 0
          deliver(whole)
        }
      }
    },
  }
}
