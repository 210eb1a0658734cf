import { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'
import { encodeDataHead, encodeMessage } from './frames.ts'
import { gatedDuplex, type SeenFrame } from './gated.test.helper.ts'
import { maxChunkBytes } from './limits.ts'
import { createWriter, type DataFrame } from './writer.ts'

const chunk = Buffer.alloc(maxChunkBytes)

function text(name: string): Buffer {
  return encodeMessage(JSON.stringify({ name }))
}

function frame(stream: number, taken: () => void = () => undefined): DataFrame {
  return { stream, parts: [encodeDataHead(stream, chunk.length), chunk], bytes: chunk.length, taken }
}

function names(seen: readonly SeenFrame[]): unknown[] {
  return seen.map((one) => ('message' in one ? one.message['name'] : one.stream))
}

describe('writer', () => {
  it('serves control, then terminate, launch, other requests, then data', async () => {
    const { duplex, seen, open } = gatedDuplex()
    const writer = createWriter(duplex)
    open()
    void writer.data(frame(1))
    for (const lane of ['other', 'launch', 'terminate', 'control'] as const) writer.message(lane, text(lane))
    await writer.flushed()
    expect(names(seen)).toEqual(['control', 'terminate', 'launch', 'other', 1])
  })

  it('lets a terminate pass 1,000 launches and a bulk stream', async () => {
    const { duplex, seen, open } = gatedDuplex()
    const writer = createWriter(duplex)
    const bulk = async (): Promise<void> => {
      for (let one = 0; one < 50; one++) await writer.data(frame(9))
    }
    const sent = bulk()
    for (let one = 0; one < 1000; one++)
      writer.message('launch', encodeMessage(JSON.stringify({ name: 'launch', pad: 'x'.repeat(500) })))
    // The socket is full: what is in it is all that can stand before the terminate.
    await vi.waitFor(() => expect(writer.stats().socketBytes).toBeGreaterThan(0))
    const before = writer.stats()
    const terminate = writer.message('terminate', text('terminate'))
    expect(terminate.sent).toBe(false)
    expect(before.messages.launch).toBeGreaterThan(700)
    expect(before.dataBytes).toBe(chunk.length)
    open()
    await sent
    await writer.flushed()
    const order = names(seen)
    expect(order.indexOf('terminate')).toBeLessThan(1000 - before.messages.launch + 2)
    expect(order.filter((one) => one === 'launch')).toHaveLength(1000)
    expect(order.filter((one) => one === 9)).toHaveLength(50)
    // Data comes when no message waits.
    expect(order.lastIndexOf('launch')).toBeLessThan(order.indexOf(9))
  })

  it('never hands more to a full socket than one gathered write', async () => {
    const { duplex, open } = gatedDuplex()
    const writer = createWriter(duplex)
    const streams = Array.from({ length: 100 }, (_, index) => writer.data(frame(index + 1)))
    await vi.waitFor(() => expect(writer.stats().socketBytes).toBeGreaterThan(0))
    expect(writer.stats().socketBytes).toBeLessThan(3 * chunk.length)
    expect(writer.stats().dataFrames).toBeGreaterThan(96)
    open()
    expect(await Promise.all(streams)).toEqual(Array.from({ length: 100 }, () => true))
  })

  it('keeps nothing of what it has handed over', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const { duplex, open } = gatedDuplex()
    open()
    const writer = createWriter(duplex)
    const sent = ['one', 'two', 'three'].map((name) => {
      const bytes = text(name)
      writer.message('other', bytes)
      return new WeakRef(bytes)
    })
    await writer.flushed()
    await vi.waitFor(() => {
      collect()
      expect(sent.filter((one) => one.deref() !== undefined)).toHaveLength(0)
    })
  })

  it('takes streams in turn', async () => {
    const { duplex, seen, open } = gatedDuplex()
    const writer = createWriter(duplex)
    open()
    const send = async (stream: number): Promise<void> => {
      for (let one = 0; one < 10; one++) await writer.data(frame(stream))
    }
    await Promise.all([1, 2, 3].map(send))
    const order = names(seen)
    for (let at = 0; at < order.length; at += 3) expect(new Set(order.slice(at, at + 3)).size).toBe(3)
  })

  it('takes back what was not handed over', async () => {
    const { duplex, seen, open } = gatedDuplex()
    const writer = createWriter(duplex)
    const taken = vi.fn<() => void>()
    void writer.data(frame(1))
    void writer.data(frame(2))
    const late = writer.data(frame(3, taken))
    await vi.waitFor(() => expect(writer.stats().socketBytes).toBeGreaterThan(0))
    const message = writer.message('launch', text('launch'))
    expect(message.drop()).toBe(true)
    expect(message.drop()).toBe(true)
    writer.dropData(3)
    writer.dropData(3)
    expect(await late).toBe(false)
    expect(taken).not.toHaveBeenCalled()
    const kept = writer.message('launch', text('kept'))
    open()
    await writer.flushed()
    expect(kept.sent).toBe(true)
    expect(kept.drop()).toBe(false)
    expect(names(seen)).not.toContain('launch')
    expect(names(seen)).not.toContain(3)
    expect(writer.stats()).toEqual({
      messages: { control: 0, terminate: 0, launch: 0, other: 0 },
      dataFrames: 0,
      dataBytes: 0,
      socketBytes: 0,
    })
  })

  it('is not flushed while a message waits for the socket', async () => {
    const { duplex, open } = gatedDuplex()
    const writer = createWriter(duplex)
    for (let one = 0; one < 20; one++) writer.message('launch', encodeMessage(JSON.stringify({ pad: 'x'.repeat(20_000) })))
    let flushed = false
    const done = writer.flushed().then(() => (flushed = true))
    await vi.waitFor(() => expect(writer.stats().socketBytes).toBeGreaterThan(0))
    expect(writer.waiting('launch')).toBeGreaterThan(0)
    await new Promise(setImmediate)
    expect(flushed).toBe(false)
    open()
    await done
    expect(writer.waiting('launch')).toBe(0)
  })

  it('has written a frame once the last of its bytes is, and not before', async () => {
    let writes = 0
    const duplex = new Duplex({
      read: () => undefined,
      write: (_chunk, _encoding, done) => done(++writes === 1 ? null : new Error('gone')),
    })
    duplex.on('error', () => undefined)
    expect(await createWriter(duplex).data(frame(1))).toBe(false)
    expect(writes).toBe(2)
  })

  it('holds one frame of a stream at a time', () => {
    const writer = createWriter(gatedDuplex().duplex)
    void writer.data(frame(1))
    expect(() => writer.data(frame(1))).toThrow('one frame')
  })

  it('drops everything when stopped, and takes nothing more', async () => {
    const { duplex } = gatedDuplex()
    const writer = createWriter(duplex)
    const first = writer.data(frame(1))
    const flushed = writer.flushed()
    const message = writer.message('other', text('x'))
    writer.stop()
    writer.stop()
    await flushed
    expect(await first).toBe(false)
    expect(message.sent).toBe(false)
    expect(writer.message('other', text('y')).drop()).toBe(true)
    expect(await writer.data(frame(2))).toBe(false)
    await writer.flushed()
  })
})
