import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WireViolation } from './close.ts'
import { createFrameReader, encodeDataHead, encodeMessage, type FrameReader, messageFits } from './frames.ts'
import { maxChunkBytes, maxFrameBytes } from './limits.ts'

type Seen = { message: string } | { stream: number; bytes: string }

function collect(): { reader: FrameReader; seen: Seen[] } {
  const seen: Seen[] = []
  const reader = createFrameReader({
    message: (body) => seen.push({ message: body.toString() }),
    data: (stream, payload) => seen.push({ stream, bytes: payload.toString('base64') }),
  })
  return { reader, seen }
}

function header(length: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(length)
  return bytes
}

function violationOf(run: () => void): string {
  try {
    run()
  } catch (error) {
    if (error instanceof WireViolation) return error.code
    throw error
  }
  return 'none'
}

const message = fc
  .string({ maxLength: 300, unit: 'grapheme' })
  .map((text) => ({ seen: { message: text }, frame: encodeMessage(text) }))
const data = fc
  .tuple(fc.integer({ min: 1, max: 0xff_ff_ff_ff }), fc.uint8Array({ minLength: 1, maxLength: 300 }))
  .map(([stream, bytes]) => ({
    seen: { stream, bytes: Buffer.from(bytes).toString('base64') },
    frame: Buffer.concat([encodeDataHead(stream, bytes.length), bytes]),
  }))

describe('frames', () => {
  it('come out whole and in order, wherever the bytes are split', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(message, data), { maxLength: 20 }), fc.array(fc.nat(4000)), (frames, cuts) => {
        const { reader, seen } = collect()
        const all = Buffer.concat(frames.map((one) => one.frame))
        let at = 0
        for (const cut of [...cuts.map((one) => one % (all.length + 1)), all.length].toSorted((a, b) => a - b)) {
          reader.push(all.subarray(at, cut))
          at = cut
        }
        expect(seen).toEqual(frames.map((one) => one.seen))
        expect(reader.frames).toBe(frames.length)
        expect(reader.partial).toBe(false)
      }),
    )
  })

  it('come out whole one byte at a time', () => {
    const { reader, seen } = collect()
    for (const byte of encodeMessage('{"a":1}')) {
      expect(seen).toEqual([])
      reader.push(Buffer.from([byte]))
    }
    expect(seen).toEqual([{ message: '{"a":1}' }])
  })

  it('may be as long as the cap, and no longer', () => {
    const { reader, seen } = collect()
    const text = 'x'.repeat(maxFrameBytes - 1)
    reader.push(encodeMessage(text))
    expect(seen).toEqual([{ message: text }])
    expect(messageFits(maxFrameBytes - 1)).toBe(true)
    expect(messageFits(maxFrameBytes)).toBe(false)
    expect(() => encodeMessage(`${text}x`)).toThrow(RangeError)
    expect(violationOf(() => reader.push(header(maxFrameBytes + 1)))).toBe('frame-too-big')
  })

  it('of 2 GB are refused by their length, before anything is held', () => {
    const { reader } = collect()
    expect(violationOf(() => reader.push(header(2 * 1024 ** 3)))).toBe('frame-too-big')
  })

  it('without a kind, of an unknown kind, or of data without data are refused', () => {
    expect(violationOf(() => collect().reader.push(header(0)))).toBe('frame-empty')
    expect(violationOf(() => collect().reader.push(Buffer.concat([header(3), Buffer.from([7, 1, 1])])))).toBe('frame-kind')
    expect(violationOf(() => collect().reader.push(encodeDataHead(3, 0)))).toBe('frame-empty')
  })

  it('of garbage end in a violation or wait for more, never in anything else', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 }), { maxLength: 10 }), (chunks) => {
        const { reader } = collect()
        for (const chunk of chunks) if (violationOf(() => reader.push(Buffer.from(chunk))) !== 'none') return
      }),
    )
  })

  it('hold no more than one frame while it is half here', () => {
    const { reader } = collect()
    reader.push(Buffer.concat([encodeDataHead(1, maxChunkBytes), Buffer.alloc(10)]))
    expect(reader.partial).toBe(true)
    expect(reader.frames).toBe(0)
  })
})
