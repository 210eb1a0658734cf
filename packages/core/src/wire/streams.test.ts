import { getEventListeners } from 'node:events'
import { duplexPair } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { ProviderError } from '../errors.ts'
import { frameOverheadBytes, grantBytes, maxChunkBytes, streamWindowBytes } from './limits.ts'
import { createPeer, type Peer } from './peer.ts'
import { encodeBytes, pump } from './pump.ts'
import { createReceiver, createSender, frameCost, iterate, type Receiver, type Sender } from './streams.ts'
import { createWriter } from './writer.ts'

const quiet = { request: () => undefined, cancelled: () => undefined, started: () => undefined }

function pair(): { writer: Peer; reader: Peer } {
  const [left, right] = duplexPair()
  return { writer: createPeer(left, quiet), reader: createPeer(right, quiet) }
}

async function* source(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

async function send(sender: Sender, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  await pump(chunks, sender, encodeBytes)
  sender.end()
}

async function readAll(receiver: Receiver, pause: () => Promise<void> = async () => undefined): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of iterate(receiver, (payload) => payload)) {
    parts.push(part)
    await pause()
  }
  return Buffer.concat(parts)
}

describe('streams', () => {
  it('keep bytes and order, however many run at once and however their readers pause', async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 })
    const big = fc.integer({ min: 1, max: 4 * maxChunkBytes }).map((length) => new Uint8Array(length).fill(length % 251))
    const stream = fc.record({
      chunks: fc.array(fc.oneof({ weight: 4, arbitrary: bytes }, { weight: 1, arbitrary: big }), { maxLength: 12 }),
      pauses: fc.nat(3),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(stream, { minLength: 1, maxLength: 12 }), async (streams) => {
        const { writer, reader } = pair()
        const results = await Promise.all(
          streams.map(async ({ chunks, pauses }, index) => {
            const receiver = reader.streams.openReceiver(index + 1)
            const sent = send(writer.streams.openSender(index + 1), source(chunks))
            const pause = async (): Promise<void> => {
              for (let turn = 0; turn < pauses; turn++) await new Promise(setImmediate)
            }
            const got = await readAll(receiver, pause)
            await sent
            return got.equals(Buffer.concat(chunks))
          }),
        )
        expect(results.every(Boolean)).toBe(true)
        expect(writer.stats()).toMatchObject({ senders: 0, dataFrames: 0 })
        expect(reader.stats()).toMatchObject({ receivers: 0, receivedBytes: 0 })
        expect([writer.closing, reader.closing]).toEqual([undefined, undefined])
        writer.close({ kind: 'closed', message: 'done' })
      }),
      { numRuns: 40 },
    )
  })

  it('hold a slow reader to its window, on both sides', async () => {
    const { writer, reader } = pair()
    const receiver = reader.streams.openReceiver(1)
    let pulled = 0
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        pulled += 1000
        yield new Uint8Array(1000)
      }
    }
    const sender = writer.streams.openSender(1)
    const sent = send(sender, endless())
    const full = Math.floor(streamWindowBytes / frameCost(1000))
    await vi.waitFor(() => expect(reader.stats().receivedBytes).toBe(full * 1000))
    expect(sender.credit).toBeLessThan(frameCost(1000))
    // One more was pulled and waits for credit; nothing waits in the writer or in its socket.
    expect(pulled).toBe((full + 1) * 1000)
    expect(writer.stats()).toMatchObject({ dataFrames: 0, dataBytes: 0, socketBytes: 0 })
    receiver.cancel()
    await sent
    await vi.waitFor(() => expect(reader.stats().receivers).toBe(0))
  })

  it('cost more than their bytes, so that tiny frames are few', async () => {
    const { writer, reader } = pair()
    reader.streams.openReceiver(1)
    async function* tiny(): AsyncGenerator<Uint8Array> {
      for (;;) yield new Uint8Array(1)
    }
    void send(writer.streams.openSender(1), tiny())
    const most = Math.floor(streamWindowBytes / (1 + frameOverheadBytes))
    await vi.waitFor(() => expect(reader.stats().receivedBytes).toBe(most))
    expect(most).toBeLessThan(5000)
  })

  it('end at the writer when the reader returns, also while it waits for the next value', async () => {
    const { writer, reader } = pair()
    const returned = vi.fn<() => void>()
    const stuck: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => undefined),
        async return() {
          returned()
          return { done: true, value: undefined }
        },
      }),
    }
    const iterator = iterate(reader.streams.openReceiver(1), (payload) => payload)
    const sent = send(writer.streams.openSender(1), stuck)
    const waiting = iterator.next()
    await iterator.return?.()
    expect((await waiting).done).toBe(true)
    await sent
    expect(returned).toHaveBeenCalledTimes(1)
    expect((await iterator.next()).done).toBe(true)
    await vi.waitFor(() => expect(reader.stats().receivers).toBe(0))
  })

  it('bring the error of their source after all its bytes', async () => {
    const { writer, reader } = pair()
    const receiver = reader.streams.openReceiver(1)
    const sender = writer.streams.openSender(1)
    await sender.write([Buffer.from('before')])
    sender.end(new ProviderError('not-found', 'no such path', { path: '/x', effect: 'none' }))
    sender.end()
    expect(String(await receiver.next())).toBe('before')
    await expect(receiver.next()).rejects.toMatchObject({
      code: 'not-found',
      path: '/x',
      effect: 'none',
      message: 'no such path',
    })
    expect(await sender.write([Buffer.from('late')])).toBe(false)
  })

  it('fail on both sides when the connection ends', async () => {
    const { writer, reader } = pair()
    const receiver = reader.streams.openReceiver(1)
    const sender = writer.streams.openSender(1)
    const next = receiver.next()
    writer.close({ kind: 'closed', message: 'going' })
    await expect(next).rejects.toMatchObject({ code: 'internal' })
    await expect(receiver.next()).rejects.toMatchObject({ code: 'internal' })
    expect(await sender.write([Buffer.from('x')])).toBe(false)
    expect(writer.streams.openSender(2).signal.aborted).toBe(true)
    await expect(writer.streams.openReceiver(3).next()).rejects.toMatchObject({ code: 'transient' })
  })
})

describe('a sender', () => {
  it('never sends more than its credit, whatever is granted', async () => {
    const step = fc.oneof(
      fc.record({ write: fc.integer({ min: 1, max: maxChunkBytes }) }),
      fc.record({ take: fc.integer({ min: 1, max: streamWindowBytes }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const [left, right] = duplexPair()
        let cost = 0
        let granted = streamWindowBytes
        let pending: Promise<unknown> = Promise.resolve()
        const writer = createWriter(left)
        const counting = {
          ...writer,
          data(frame: Parameters<typeof writer.data>[0]) {
            cost += frameCost(frame.bytes)
            expect(cost).toBeLessThanOrEqual(granted)
            return writer.data(frame)
          },
        }
        right.resume()
        const sender = createSender(1, { writer: counting, ended: () => undefined })
        for (const one of steps) {
          if ('write' in one) pending = pending.then(() => sender.write([new Uint8Array(one.write)]))
          else {
            // What a reader may grant: what it has taken.
            const grant = Math.min(one.take, cost - (granted - streamWindowBytes))
            granted += grant
            sender.grant(grant)
          }
          await new Promise(setImmediate)
          expect(sender.credit).toBe(granted - cost)
        }
        sender.end()
        await pending
      }),
      { numRuns: 40 },
    )
  })

  it('refuses to be granted more than was taken', () => {
    const sender = createSender(1, { writer: createWriter(duplexPair()[0]), ended: () => undefined })
    expect(() => sender.grant(grantBytes)).toThrow(expect.objectContaining({ code: 'over-credit' }) as Error)
  })
})

describe('a receiver', () => {
  function receiver(): { receiver: Receiver; granted: number[]; cancelled: number; complete: number } {
    const seen = { granted: [] as number[], cancelled: 0, complete: 0 }
    const made = createReceiver(1, {
      maxPayload: maxChunkBytes,
      grant: (bytes) => seen.granted.push(bytes),
      cancel: () => seen.cancelled++,
      complete: () => seen.complete++,
    })
    return Object.assign(seen, { receiver: made })
  }
  const code = (expected: string): Error => expect.objectContaining({ code: expected }) as Error

  it('takes no byte beyond what it granted', () => {
    const { receiver: one } = receiver()
    for (let sent = 0; sent + frameCost(maxChunkBytes) <= streamWindowBytes; sent += frameCost(maxChunkBytes))
      one.data(Buffer.alloc(maxChunkBytes))
    expect(() => one.data(Buffer.alloc(maxChunkBytes))).toThrow(code('over-credit'))
  })

  it('grants what was taken, in large pieces', async () => {
    const seen = receiver()
    for (let one = 0; one < 3; one++) seen.receiver.data(Buffer.alloc(maxChunkBytes))
    expect(seen.granted).toEqual([])
    for (let one = 0; one < 3; one++) await seen.receiver.next()
    expect(seen.granted).toEqual([2 * frameCost(maxChunkBytes)])
    expect(seen.granted[0]).toBeGreaterThanOrEqual(grantBytes)
  })

  it('takes its end before or after its data, and nothing after it', async () => {
    const early = receiver()
    early.receiver.end(3, undefined)
    expect(early.receiver.complete).toBe(false)
    early.receiver.data(Buffer.from('abc'))
    expect(early.receiver.complete).toBe(true)
    expect(String(await early.receiver.next())).toBe('abc')
    expect(await early.receiver.next()).toBeUndefined()
    expect(() => early.receiver.data(Buffer.from('d'))).toThrow(code('over-end'))
    expect(() => early.receiver.end(3, undefined)).toThrow(code('over-end'))

    const late = receiver()
    late.receiver.data(Buffer.from('abc'))
    expect(() => late.receiver.end(2, undefined)).toThrow(code('over-end'))
    expect(() => late.receiver.end(streamWindowBytes * 2, undefined)).toThrow(code('over-credit'))
    const full = receiver()
    expect(() => full.receiver.end(streamWindowBytes + 1, undefined)).toThrow(code('over-credit'))
    full.receiver.end(streamWindowBytes, undefined)
  })

  it('drops what comes after it was cancelled, and says so once', async () => {
    const seen = receiver()
    seen.receiver.data(Buffer.from('abc'))
    seen.receiver.cancel()
    seen.receiver.cancel()
    seen.receiver.data(Buffer.from('def'))
    expect(seen.receiver.queuedBytes).toBe(0)
    expect(await seen.receiver.next()).toBeUndefined()
    seen.receiver.end(6, undefined)
    expect(seen).toMatchObject({ cancelled: 1, complete: 1 })
    seen.receiver.cancel()
    expect(seen.cancelled).toBe(1)
    // Whoever has said how much there is sends no more for it.
    const ended = receiver()
    ended.receiver.end(3, undefined)
    ended.receiver.cancel()
    expect(ended.cancelled).toBe(0)
  })

  it('keeps no view of a large block for a small payload', async () => {
    const { receiver: one } = receiver()
    const block = Buffer.alloc(1024 * 1024)
    one.data(block.subarray(0, 10))
    expect((await one.next())?.buffer.byteLength).toBeLessThan(block.length)
  })

  it('answers several waiting reads in order', async () => {
    const { receiver: one } = receiver()
    const reads = [one.next(), one.next(), one.next()]
    one.data(Buffer.from('a'))
    one.data(Buffer.from('b'))
    one.end(2, undefined)
    expect((await Promise.all(reads)).map((part) => part?.toString())).toEqual(['a', 'b', undefined])
  })

  it('keeps the first reason when it fails', async () => {
    const { receiver: one } = receiver()
    one.fail(new ProviderError('deadline', 'first'))
    one.fail(new ProviderError('cancelled', 'second'))
    await expect(one.next()).rejects.toThrow('first')
  })
})

describe('pump', () => {
  it('refuses a value that is no bytes', async () => {
    const [left, right] = duplexPair()
    right.resume()
    const sender = createSender(1, { writer: createWriter(left), ended: () => undefined })
    await expect(pump(source(['text' as unknown as Uint8Array]), sender, encodeBytes)).rejects.toThrow('no Uint8Array')
  })

  it('lets a source clean up, and does not mind how that goes', async () => {
    const sender = createSender(1, { writer: createWriter(duplexPair()[0]), ended: () => undefined })
    sender.stop()
    const next = vi.fn<() => Promise<IteratorResult<Uint8Array>>>()
    const messy = { [Symbol.asyncIterator]: () => ({ next, return: () => Promise.reject(new Error('messy')) }) }
    await pump(messy, sender, encodeBytes)
    expect(next).not.toHaveBeenCalled()
  })

  it('lets go of a source that has ended by itself, and of its reader’s signal after each value', async () => {
    const over = new AbortController()
    const listening: number[] = []
    const sender = {
      signal: over.signal,
      write: async () => listening.push(getEventListeners(over.signal, 'abort').length) > 0,
    } as unknown as Sender
    const clean = vi.fn(async () => ({ done: true as const, value: undefined }))
    const values = source(Array.from({ length: 5 }, () => new Uint8Array(1)))
    await pump({ [Symbol.asyncIterator]: () => ({ next: () => values.next(), return: clean }) }, sender, encodeBytes)
    expect(clean).not.toHaveBeenCalled()
    await vi.waitFor(() => expect(getEventListeners(over.signal, 'abort')).toEqual([]))
    expect(Math.max(...listening)).toBeLessThanOrEqual(1)
  })

  it('lets a source clean up that gave what cannot be sent, and one that failed has done so', async () => {
    const sender = { signal: new AbortController().signal, write: async () => true } as unknown as Sender
    const clean = vi.fn(async () => ({ done: true as const, value: undefined }))
    const of = (next: () => Promise<IteratorResult<unknown>>): AsyncIterable<unknown> => ({
      [Symbol.asyncIterator]: () => ({ next, return: clean }),
    })
    const fails = of(() => Promise.reject(new Error('dry')))
    await expect(pump(fails, sender, encodeBytes)).rejects.toThrow('dry')
    expect(clean).not.toHaveBeenCalled()
    const odd = of(async () => ({ done: false, value: 'text' }))
    await expect(pump(odd, sender, encodeBytes)).rejects.toThrow('no Uint8Array')
    expect(clean).toHaveBeenCalledOnce()
  })
})
