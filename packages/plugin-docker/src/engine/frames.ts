/**
 * Takes an engine's multiplexed output apart: u8 stream, three zero bytes, u32 BE length, bytes.
 * Source: the engine's API, "Attach to a container", stream format.
 */
import type { OutputStream } from '@muster/core'
import { EngineFailure } from '../errors.ts'

export interface Frame {
  stream: OutputStream
  data: Buffer
}

const HEADER_BYTES = 8
/** An engine copies in blocks of 32 KiB and cuts log lines at 16 KiB; more is not a frame but a stream out of step. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024
/** 0 is standard input, which is never sent back; 3 carries an engine's own error text. */
const SYSTEM_ERROR = 3

/** Takes bytes as they come and gives the frames that are whole. */
export interface FrameReader {
  push(chunk: Uint8Array): Frame[]
  /** Throws when the last frame is not whole. */
  end(): void
}

export function createFrameReader(): FrameReader {
  let parts: Buffer[] = []
  let held = 0
  let wanted = HEADER_BYTES

  return {
    push(chunk) {
      parts.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
      held += chunk.byteLength
      if (held < wanted) return []
      const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, held)
      const frames: Frame[] = []
      let at = 0
      for (;;) {
        wanted = HEADER_BYTES
        if (bytes.length - at < wanted) break
        const length = bytes.readUInt32BE(at + 4)
        const kind = bytes[at] as number
        if (kind > SYSTEM_ERROR || length > MAX_FRAME_BYTES)
          throw new EngineFailure('the output is not in frames', { sent: true })
        wanted = HEADER_BYTES + length
        if (bytes.length - at < wanted) break
        const data = bytes.subarray(at + HEADER_BYTES, at + wanted)
        if (kind === SYSTEM_ERROR) throw new EngineFailure(data.toString().trim(), { sent: true })
        frames.push({ stream: kind === 2 ? 'stderr' : 'stdout', data })
        at += wanted
      }
      parts = at === bytes.length ? [] : [bytes.subarray(at)]
      held = bytes.length - at
      return frames
    },
    end() {
      if (held > 0) throw new EngineFailure('the output broke off', { code: 'ECONNRESET', sent: true })
    },
  }
}
