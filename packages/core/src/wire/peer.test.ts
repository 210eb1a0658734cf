import { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ViolationCode } from './close.ts'
import { encodeMessage } from './frames.ts'
import { gatedDuplex } from './gated.test.helper.ts'
import {
  frameStallMs,
  grantBytes,
  lateOfStream,
  maxFrameBytes,
  maxOpenRequests,
  maxQueuedControl,
  maxUnaskedPerSecond,
  streamWindowBytes,
} from './limits.ts'
import { createPeer, type Peer, type PeerHandlers } from './peer.ts'
import { type RawSide, rawSide } from './raw.test.helper.ts'

const handlers: PeerHandlers = { request: () => undefined, cancelled: () => undefined, started: () => undefined }

function start(given: Partial<PeerHandlers> = {}): { peer: Peer; raw: RawSide } {
  const raw = rawSide()
  return { peer: createPeer(raw.socket, { ...handlers, ...given }, { unaskedPerSecond: maxUnaskedPerSecond }), raw }
}

/** A peer that has asked for something (1), writes stream 1 and reads stream 2. */
async function busy(): Promise<{ peer: Peer; raw: RawSide }> {
  const { peer, raw } = start()
  peer.request({ lane: 'other', method: 'ask', params: '{}' }).answer.catch(() => undefined)
  peer.streams.openSender(1)
  peer.streams.openReceiver(2)
  await raw.request('ask')
  return { peer, raw }
}

function length(bytes: number): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes)
  return head
}

const answer = { id: 1, result: {} }
const breaches: [string, ViolationCode, (raw: RawSide) => void][] = [
  ['garbage', 'frame-too-big', (raw) => raw.bytes(Buffer.from('GET / HTTP/1.1\r\n\r\n'))],
  ['a header of 2 GB', 'frame-too-big', (raw) => raw.bytes(length(2 * 1024 ** 3))],
  ['an empty frame', 'frame-empty', (raw) => raw.bytes(length(0))],
  ['data without data', 'frame-empty', (raw) => raw.frame(2, Buffer.alloc(0))],
  ['an unknown kind', 'frame-kind', (raw) => raw.bytes(Buffer.concat([length(2), Buffer.from([2, 0])]))],
  ['no JSON', 'bad-json', (raw) => raw.text('{"jsonrpc"')],
  ['a key that reaches a prototype', 'bad-json', (raw) => raw.text('{"jsonrpc":"2.0","id":1,"result":{"__proto__":{"x":1}}}')],
  ['a batch', 'bad-message', (raw) => raw.text('[{"jsonrpc":"2.0","id":1,"result":{}}]')],
  ['a number', 'bad-message', (raw) => raw.text('7')],
  ['another version', 'bad-message', (raw) => raw.text('{"jsonrpc":"1.0","id":1,"result":{}}')],
  ['result and error at once', 'bad-message', (raw) => raw.message({ ...answer, error: { code: 1, message: '', data: {} } })],
  [
    'an unknown error code',
    'bad-message',
    (raw) => raw.message({ id: 1, error: { code: 1, message: '', data: { code: 'odd', effect: 'none' } } }),
  ],
  ['an unknown key', 'bad-message', (raw) => raw.message({ ...answer, extra: 1 })],
  ['an answer to nothing', 'unknown-id', (raw) => raw.message({ id: 99, result: {} })],
  [
    'two answers',
    'duplicate-answer',
    (raw) => {
      raw.message(answer)
      raw.message(answer)
    },
  ],
  [
    'two requests of one id',
    'duplicate-id',
    (raw) => {
      raw.message({ id: 5, method: 'x', params: {} })
      raw.message({ id: 5, method: 'x', params: {} })
    },
  ],
  ['a start of nothing', 'unknown-id', (raw) => raw.message({ method: '$/started', params: { id: 99 } })],
  ['a cancel of nothing', 'unknown-id', (raw) => raw.message({ method: '$/cancel', params: { id: 99 } })],
  ['an unknown notification', 'unknown-method', (raw) => raw.message({ method: '$/else', params: {} })],
  [
    'bad params of a notification',
    'bad-params',
    (raw) => raw.message({ method: '$/credit', params: { stream: 1, bytes: 'many' } }),
  ],
  ['small credit', 'bad-params', (raw) => raw.message({ method: '$/credit', params: { stream: 1, bytes: grantBytes - 1 } })],
  [
    'credit beyond the window',
    'over-credit',
    (raw) => raw.message({ method: '$/credit', params: { stream: 1, bytes: grantBytes } }),
  ],
  [
    'credit for a stream that it writes',
    'unknown-stream',
    (raw) => raw.message({ method: '$/credit', params: { stream: 2, bytes: grantBytes } }),
  ],
  [
    'credit for no stream',
    'unknown-stream',
    (raw) => raw.message({ method: '$/credit', params: { stream: 77, bytes: grantBytes } }),
  ],
  ['a cancel of no stream', 'unknown-stream', (raw) => raw.message({ method: '$/cancelStream', params: { stream: 77 } })],
  ['data of no stream', 'unknown-stream', (raw) => raw.frame(77, Buffer.from('x'))],
  ['data of a stream that we write', 'unknown-stream', (raw) => raw.frame(1, Buffer.from('x'))],
  ['the end of no stream', 'unknown-stream', (raw) => raw.message({ method: '$/end', params: { stream: 77, bytes: 0 } })],
  [
    'data after the end',
    'unknown-stream',
    (raw) => {
      raw.message({ method: '$/end', params: { stream: 2, bytes: 1 } })
      raw.frame(2, Buffer.from('x'))
      raw.frame(2, Buffer.from('x'))
    },
  ],
  [
    'an end before its data',
    'over-end',
    (raw) => {
      raw.frame(2, Buffer.from('xyz'))
      raw.message({ method: '$/end', params: { stream: 2, bytes: 2 } })
    },
  ],
  [
    'data beyond its credit',
    'over-credit',
    (raw) => {
      for (let sent = 0; sent <= streamWindowBytes; sent += 60_000) raw.frame(2, Buffer.alloc(60_000))
    },
  ],
]

describe('a peer closes with the reason on', () => {
  it.each(breaches)('%s: %s', async (_name, violation, breach) => {
    const { peer, raw } = await busy()
    breach(raw)
    expect(await peer.closed).toMatchObject({ kind: 'violation', violation })
    await raw.ended
    expect(peer.stats()).toMatchObject({ asked: 0, open: 0, senders: 0, receivers: 0 })
  })
})

describe('a frame that never ends', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('is given up, also when bytes still drip', async () => {
    const { peer, raw } = start()
    raw.bytes(length(1000))
    for (let one = 0; one < 29; one++) {
      raw.bytes(Buffer.from([0]))
      await vi.advanceTimersByTimeAsync(frameStallMs / 30)
    }
    expect(peer.closing).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1000)
    expect(await peer.closed).toMatchObject({ kind: 'violation', violation: 'frame-stalled' })
  })

  it('is not seen in a stream of frames of which one is always half here', async () => {
    const { peer, raw } = start()
    const receiver = peer.streams.openReceiver(1)
    const frame = Buffer.concat([length(6), Buffer.from([1, 0, 0, 0, 1, 7])])
    raw.bytes(frame.subarray(0, 5))
    for (let one = 0; one < 50; one++) {
      raw.bytes(Buffer.concat([frame.subarray(5), frame.subarray(0, 5)]))
      await vi.advanceTimersByTimeAsync(frameStallMs / 10)
    }
    expect(peer.closing).toBeUndefined()
    expect(receiver.queuedBytes).toBe(50)
  })
})

describe('a peer', () => {
  it('asks and is answered, with the bytes the answer took', async () => {
    const { peer, raw } = start()
    const asked = peer.request({ lane: 'other', method: 'ask', params: '{"a":1}' })
    expect(asked.sent).toBe(false)
    const request = await raw.request('ask')
    expect(request.params).toEqual({ a: 1 })
    expect([asked.sent, asked.answered]).toEqual([true, false])
    raw.message({ id: request.id, result: { b: 2 } })
    expect(await asked.answer).toEqual({ result: { b: 2 }, bytes: '{"jsonrpc":"2.0","id":1,"result":{"b":2}}'.length })
    expect(asked.answered).toBe(true)
  })

  it('answers each request once', async () => {
    const { peer, raw } = start({ request: ({ id, params }) => peer.answer(id, JSON.stringify(params)) })
    raw.message({ id: 4, method: 'echo', params: { x: 1 } })
    await raw.wait((one) => one.id === 4)
    peer.answer(4, '{}')
    peer.refuse(4, { code: 1, message: '', data: { code: 'internal', effect: 'none' } })
    raw.message({ id: 3, method: 'echo', params: { y: 1 } })
    await raw.wait((one) => one.id === 3)
    expect(raw.messages.map((one) => [one.id, one.result])).toEqual([
      [4, { x: 1 }],
      [3, { y: 1 }],
    ])
  })

  it('tells of a cancel only while the request is open', async () => {
    const cancelled = vi.fn<(id: number) => void>()
    const { peer, raw } = start({ cancelled })
    raw.message({ id: 1, method: 'wait', params: {} })
    raw.message({ method: '$/cancel', params: { id: 1 } })
    await vi.waitFor(() => expect(cancelled).toHaveBeenCalledWith(1))
    peer.answer(1, '{}')
    raw.message({ method: '$/cancel', params: { id: 1 } })
    raw.message({ id: 2, method: 'wait', params: {} })
    await vi.waitFor(() => expect(peer.stats().open).toBe(1))
    expect(cancelled).toHaveBeenCalledTimes(1)
  })

  it('takes a request back that was not sent', async () => {
    const { duplex, open, seen } = gatedDuplex()
    const peer = createPeer(duplex, handlers)
    void peer
      .request({ lane: 'other', method: 'fill', params: JSON.stringify('x'.repeat(200_000)) })
      .answer.catch(() => undefined)
    await vi.waitFor(() => expect(peer.stats().socketBytes).toBeGreaterThan(0))
    const asked = peer.request({ lane: 'launch', method: 'late', params: '{}' })
    expect(asked.withdraw()).toBe(true)
    expect(asked.sent).toBe(false)
    open()
    peer.notify('$/cancel', { id: 1 })
    await vi.waitFor(() => expect(seen).toHaveLength(2))
    expect(JSON.stringify(seen)).not.toContain('late')
    expect(peer.stats().asked).toBe(1)
  })

  it('fails open requests at the end: effect none only for what never left', async () => {
    const { duplex } = gatedDuplex()
    const peer = createPeer(duplex, handlers)
    const sent = peer.request({ lane: 'other', method: 'fill', params: JSON.stringify('x'.repeat(200_000)) })
    await vi.waitFor(() => expect(sent.sent).toBe(true))
    const unsent = peer.request({ lane: 'other', method: 'late', params: '{}' })
    peer.close({ kind: 'closed', message: 'enough' })
    await expect(sent.answer).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
    await expect(unsent.answer).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    await expect(peer.request({ lane: 'other', method: 'later', params: '{}' }).answer).rejects.toMatchObject({ effect: 'none' })
    peer.notify('$/cancel', { id: 1 })
    expect(await peer.closed).toEqual({ kind: 'closed', message: 'enough' })
  })

  it('knows the other side gone from a failure of the transport', async () => {
    const broken = (code: string): Duplex =>
      new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done(Object.assign(new Error(code), { code })) })
    for (const [code, kind] of [
      ['EPIPE', 'ended'],
      ['ECONNRESET', 'ended'],
      ['EIO', 'failed'],
    ] as const) {
      const peer = createPeer(broken(code), handlers)
      const asked = peer.request({ lane: 'other', method: 'ask', params: '{}' })
      await expect(asked.answer).rejects.toMatchObject({ code: 'internal' })
      expect(await peer.closed).toMatchObject({ kind })
    }
    const { peer, raw } = start()
    raw.end()
    expect(await peer.closed).toMatchObject({ kind: 'ended' })
  })

  it('says why it could not read on', async () => {
    const first = start()
    first.raw.text('{"jsonrpc"')
    expect((await first.peer.closed).message).toMatch(/^a message that is no JSON: .+/)
    const second = start({
      request: () => {
        throw new Error('the handler broke')
      },
    })
    second.raw.message({ id: 1, method: 'x', params: {} })
    expect(await second.peer.closed).toEqual({ kind: 'failed', message: 'the handler broke' })
  })

  it('finishes what is queued before it ends', async () => {
    const { peer, raw } = start()
    peer.notify('$/cancel', { id: 1 })
    await peer.finish('done')
    await raw.ended
    expect(raw.messages).toHaveLength(1)
    expect(await peer.closed).toEqual({ kind: 'closed', message: 'done' })
    await peer.finish('again')
  })
})

it('counts what one turn has taken, and not what came before it', async () => {
  const { peer, raw } = start({ request: ({ id }) => peer.answer(id, '{}') })
  for (const id of [1, 2, 3]) {
    raw.message({ id, method: 'secret', params: {} })
    await raw.wait((one) => one.id === id)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(peer.stats().busiest.frames).toBe(1)
})

describe('a flood', () => {
  // The clock stands still, so that a slow machine sees the same second.
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it.each([0, 3_600_000])('of notifications ends the connection, however long it has lasted: %i ms', async (age) => {
    const { peer, raw } = await busy()
    await vi.advanceTimersByTimeAsync(age)
    for (let one = 0; one <= maxUnaskedPerSecond; one++) raw.message({ method: '$/cancelStream', params: { stream: 1 } })
    const message = `more than ${maxUnaskedPerSecond} messages in a second`
    expect(await peer.closed).toEqual({ kind: 'violation', violation: 'flood', message })
  })

  it.each([
    ['cancels of a request that is answered', '$/cancel', { id: 1 }],
    ['cancels of a stream that is over', '$/cancelStream', { stream: 1 }],
    ['credit of a stream that is over', '$/credit', { stream: 1, bytes: grantBytes }],
  ])('of %s ends it, however slow: so many may be late, and those that cross with an end beside', async (_, method, params) => {
    const raw = rawSide()
    const peer = createPeer(raw.socket, { ...handlers, request: ({ id }) => peer.answer(id, '{}') }, { late: 5 })
    peer.streams.openSender(1)
    peer.streams.forget(1)
    for (const id of [1, 2]) raw.message({ id, method: 'secret', params: {} })
    for (let one = 0; one < 5 + 2 + lateOfStream; one++) {
      await vi.advanceTimersByTimeAsync(2000)
      raw.message({ method, params })
    }
    // It has them all, and is still there.
    raw.message({ id: 3, method: 'secret', params: {} })
    raw.message({ method, params })
    await raw.wait((one) => one.id === 3)
    expect(peer.closing).toBeUndefined()
    raw.message({ method, params })
    expect(await peer.closed).toEqual({
      kind: 'violation',
      violation: 'flood',
      message: 'more than 5 messages about what is over',
    })
  })

  it('of large notifications ends it sooner', async () => {
    const { peer, raw } = await busy()
    const pad = ' '.repeat(maxFrameBytes - 200)
    for (let one = 0; one <= maxUnaskedPerSecond / 1023; one++)
      raw.text(`{"jsonrpc":"2.0","method":"$/cancelStream","params":{"stream":1}}${pad}`)
    expect(await peer.closed).toMatchObject({ kind: 'violation', violation: 'flood' })
  })

  it('is none when it takes its time', async () => {
    const { peer, raw } = await busy()
    for (let one = 0; one < 3; one++) {
      for (let more = 0; more < maxUnaskedPerSecond / 2; more++) raw.message({ method: '$/cancelStream', params: { stream: 1 } })
      await vi.advanceTimersByTimeAsync(1001)
    }
    expect(peer.closing).toBeUndefined()
  })

  it('of requests that are answered and not read ends it', async () => {
    const { duplex } = gatedDuplex()
    const peer = createPeer(duplex, { ...handlers, request: ({ id }) => peer.answer(id, '{}') })
    for (let one = 0; one <= maxQueuedControl + 2000; one++) peer.notify('$/cancel', { id: 1 })
    duplex.push(encodeMessage('{"jsonrpc":"2.0","id":1,"method":"secret","params":{}}'))
    expect(await peer.closed).toMatchObject({ kind: 'violation', violation: 'flood' })
  })

  it('of requests that stay open ends it, however slow', async () => {
    const { peer, raw } = start()
    for (let id = 1; id <= maxOpenRequests + 1; id++) {
      if (id % 10_000 === 0) await vi.advanceTimersByTimeAsync(1500)
      raw.message({ id, method: 'secret', params: {} })
    }
    expect(await peer.closed).toMatchObject({ violation: 'flood', message: `more than ${maxOpenRequests} open requests` })
  })
})
