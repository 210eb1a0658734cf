import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ExecChunk, LogChunk, WorkerObservation } from '../provider.ts'
import { execCodec, ItemFault, logsCodec, splitBytes, watchCodec } from './items.ts'
import { maxChunkBytes, maxHandleBytes } from './limits.ts'

const observation: WorkerObservation = {
  id: `w${'a'.repeat(26)}`,
  handle: { v: 1, data: { id: 7 } },
  tags: { 'muster-owner': 'o', 'muster-provider': 'p', 'muster-pool': 'q', 'muster-worker': 'w', 'muster-epoch': '1' },
  phase: 'exited',
  ready: false,
  exit: { code: 3, reason: 'exited' },
}

function fault(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof ItemFault) return error.message
    throw error
  }
  return ''
}

function frame(parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts)
}

describe('items', () => {
  it('of a watch come back as they were', () => {
    const [parts = []] = watchCodec().encode(observation)
    expect(watchCodec().decode(frame(parts))).toEqual(observation)
  })

  it('of logs come back as they were, the empty chunk too', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('stdout', 'stderr'),
        fc.string({ maxLength: 60 }),
        fc.uint8Array({ maxLength: 2000 }),
        (stream, cursor, data) => {
          const chunk = { stream, cursor, data: Buffer.from(data) }
          const frames = logsCodec().encode(chunk)
          expect(frames).toHaveLength(1)
          expect(logsCodec().decode(frame(frames[0] ?? []))).toEqual(chunk)
        },
      ),
    )
  })

  it('of logs are refused over the cap: a cursor cannot be split', () => {
    const chunk: LogChunk = { stream: 'stdout', cursor: 'c', data: new Uint8Array(maxChunkBytes + 1) }
    expect(fault(() => logsCodec().encode(chunk))).toBe(`data: ${maxChunkBytes + 1} bytes in one chunk; at most ${maxChunkBytes}`)
    expect(
      frame(
        logsCodec()
          .encode({ ...chunk, data: chunk.data.subarray(1) })
          .flat(),
      ).length,
    ).toBeGreaterThan(maxChunkBytes)
    expect(fault(() => logsCodec().encode({ ...chunk, data: Buffer.alloc(1), cursor: 'é'.repeat(101) }))).toContain(
      'cursor: longer than 200 bytes',
    )
  })

  it('of exec are split by offset, and put together they are the same', () => {
    const bytes = fc.integer({ min: 1, max: 3 * maxChunkBytes })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('stdout' as const, 'stderr' as const), bytes), { maxLength: 4 }),
        (chunks) => {
          const from = { stdout: 5, stderr: 70_000 }
          const [encode, decode] = [execCodec(from), execCodec(from)]
          const at = { ...from }
          const got = { stdout: 0, stderr: 0 }
          for (const [stream, length] of chunks) {
            const chunk: ExecChunk = { stream, offset: at[stream], data: new Uint8Array(length) }
            at[stream] += length
            for (const parts of encode.encode(chunk)) {
              const item = decode.decode(frame(parts))
              expect(item.data.length).toBeLessThanOrEqual(maxChunkBytes)
              expect(item.offset).toBe(from[item.stream] + got[item.stream])
              got[item.stream] += item.data.length
            }
          }
          expect(got).toEqual({ stdout: at.stdout - from.stdout, stderr: at.stderr - from.stderr })
        },
      ),
      { numRuns: 30 },
    )
  })

  it('of exec go on exactly where they were', () => {
    const codec = execCodec({ stdout: 10, stderr: 0 })
    const chunk: ExecChunk = { stream: 'stdout', offset: 10, data: Buffer.from('abc') }
    codec.encode(chunk)
    expect(fault(() => codec.encode(chunk))).toBe('offset: stdout goes on at 10, not at 13')
    expect(fault(() => codec.encode({ ...chunk, offset: 14 }))).toBe('offset: stdout goes on at 14, not at 13')
    expect(codec.encode({ ...chunk, offset: 13, data: Buffer.alloc(0) })).toEqual([])
  })

  it('of a wrong shape are refused with their path', () => {
    expect(fault(() => watchCodec().encode({ ...observation, phase: 'sleeping' }))).toMatch(/^phase: /)
    expect(fault(() => watchCodec().encode({ ...observation, handle: { v: 1, data: 'x'.repeat(5000) } }))).toBe(
      'handle: larger than 4096 bytes',
    )
    expect(fault(() => watchCodec().encode({ ...observation, exit: { reason: 'x'.repeat(20_000) } }))).toContain('at most 16384')
    expect(fault(() => logsCodec().encode('text'))).toBe('a chunk that is no object')
    expect(fault(() => logsCodec().encode({ stream: 'stdout', cursor: '', data: 'text' }))).toBe('data: not a Uint8Array')
    expect(fault(() => logsCodec().encode({ stream: 'stdlog', cursor: '', data: Buffer.alloc(1) }))).toMatch(/^stream: /)
    expect(fault(() => logsCodec().encode({ stream: 'stdout', cursor: '', extra: 1, data: Buffer.alloc(1) }))).toContain('extra')
  })

  it('cut in their header are refused, and say so', () => {
    const cut = 'an item shorter than its header says'
    const [parts = []] = logsCodec().encode({ stream: 'stdout', cursor: 'c', data: Buffer.from('x') })
    const whole = frame(parts)
    const header = whole.readUInt16BE(0)
    for (const bytes of [0, 1, 2, 1 + header]) expect(fault(() => logsCodec().decode(whole.subarray(0, bytes)))).toBe(cut)
    expect(logsCodec().decode(whole.subarray(0, 2 + header)).data).toHaveLength(0)
  })

  it('of a header that is no JSON are refused with what is wrong in it', () => {
    const header = Buffer.from('{"stream":}')
    const frame = Buffer.concat([Buffer.from([0, header.length]), header])
    expect(fault(() => logsCodec().decode(frame))).toMatch(/^header: .*JSON/)
  })

  it('hold a handle that is just as large as it may be', () => {
    const full = (more: number): unknown => {
      const data = 'x'.repeat(maxHandleBytes - JSON.stringify({ v: 1, data: '' }).length + more)
      return { ...observation, handle: { v: 1, data } }
    }
    expect(fault(() => watchCodec().encode(full(0)))).toBe('')
    expect(fault(() => watchCodec().encode(full(1)))).toBe(`handle: larger than ${maxHandleBytes} bytes`)
  })

  it('of garbage bytes are refused, never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        for (const codec of [watchCodec(), logsCodec(), execCodec({ stdout: 0, stderr: 0 })])
          expect(fault(() => codec.decode(Buffer.from(bytes)))).not.toBe('')
      }),
    )
    expect(
      fault(() => watchCodec().decode(Buffer.concat([...(watchCodec().encode(observation)[0] ?? []), Buffer.from('x')]))),
    ).toBe('data: an observation has none')
    const [head = Buffer.alloc(0)] =
      execCodec({ stdout: 0, stderr: 0 }).encode({ stream: 'stdout', offset: 0, data: Buffer.alloc(1) })[0] ?? []
    const tooLong = Buffer.concat([head, Buffer.alloc(maxChunkBytes + 1)])
    expect(fault(() => execCodec({ stdout: 0, stderr: 0 }).decode(tooLong))).toContain('in one item')
  })
})

describe('splitBytes', () => {
  it('cuts at the cap and copies nothing', () => {
    const data = new Uint8Array(2 * maxChunkBytes + 3)
    const parts = splitBytes(data)
    expect(parts.map((one) => one.length)).toEqual([maxChunkBytes, maxChunkBytes, 3])
    expect(parts.every((one) => one.buffer === data.buffer)).toBe(true)
    expect(splitBytes(new Uint8Array(0))).toEqual([])
    const whole = new Uint8Array(maxChunkBytes)
    expect(splitBytes(whole)[0]).toBe(whole)
  })
})
