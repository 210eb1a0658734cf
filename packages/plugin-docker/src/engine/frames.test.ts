import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFrameReader, type Frame } from './frames.ts'
import { jsonLines } from './lines.ts'

export function frameOf(kind: number, data: Buffer | string): Buffer {
  const header = Buffer.alloc(8)
  header[0] = kind
  header.writeUInt32BE(Buffer.byteLength(data), 4)
  return Buffer.concat([header, Buffer.from(data)])
}

/** Cuts at the given places, in any order. */
export function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].toSorted((left, right) => left - right)
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

const frame = fc.record({ stream: fc.constantFrom('stdout' as const, 'stderr' as const), data: fc.uint8Array({ maxLength: 50 }) })

test('frames come out as they went in, however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(frame), fc.array(fc.nat(5_000)), (frames, places) => {
      const bytes = Buffer.concat(frames.map(({ stream, data }) => frameOf(stream === 'stdout' ? 1 : 2, Buffer.from(data))))
      const reader = createFrameReader()
      const read: Frame[] = cut(bytes, places).flatMap((chunk) => reader.push(chunk))
      reader.end()
      expect(read.map(({ stream, data }) => ({ stream, data: [...data] }))).toEqual(
        frames.map(({ stream, data }) => ({ stream, data: [...data] })),
      )
    }),
  )
})

test('what is no frame is an error: another kind, an absurd length, an end in the middle', () => {
  expect(() => createFrameReader().push(Buffer.from('OCI runtime exec failed'))).toThrow('not in frames')
  expect(() => createFrameReader().push(Buffer.from([1, 0, 0, 0, 255, 0, 0, 0]))).toThrow('not in frames')
  const reader = createFrameReader()
  reader.push(frameOf(1, 'whole').subarray(0, 10))
  expect(() => reader.end()).toThrow('broke off')
})

test("an engine's own error text is thrown", () => {
  expect(() => createFrameReader().push(frameOf(3, 'Error grabbing logs\n'))).toThrow('Error grabbing logs')
})

test('lines of JSON come out as they went in, however the bytes are cut, multi-byte characters too', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ text: fc.string({ unit: 'binary' }) })),
      fc.array(fc.nat(5_000)),
      async (values, places) => {
        const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\r\n`).join(''))
        expect(await Array.fromAsync(jsonLines(source(cut(bytes, places))))).toEqual(values)
      },
    ),
  )
  expect(await Array.fromAsync(jsonLines(source([Buffer.from('\n\n{"last":1}')])))).toEqual([{ last: 1 }])
  await expect(Array.fromAsync(jsonLines(source([Buffer.from('no json\n')])))).rejects.toThrow('not JSON')
  await expect(Array.fromAsync(jsonLines(source([Buffer.alloc(5_000_000, 'x')])))).rejects.toThrow('without end')
})

async function* source(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks
}
