/**
 * Streams with byte credits. A frame costs its payload plus {@link frameOverheadBytes}. The writer starts with
 * {@link streamWindowBytes} and sends nothing it has no credit for; the reader grants more as its consumer takes.
 */
import type { ProviderError } from '../errors.ts'
import { WireViolation } from './close.ts'
import { encodeDataHead } from './frames.ts'
import { frameOverheadBytes, grantBytes, streamWindowBytes } from './limits.ts'
import type { Writer } from './writer.ts'

/** What one data frame of so many payload bytes costs. */
export function frameCost(bytes: number): number {
  return bytes + frameOverheadBytes
}

/** Below this a payload is copied: a small view would pin the whole 64 KiB block that was read from the socket. */
const copyBelowBytes = 16 * 1024

/** Below this a copy is cheaper than one more buffer in a gathered write. */
const joinBelowBytes = 4 * 1024

export interface Sender {
  readonly stream: number
  /** Aborts when nothing more can be sent: the reader does not want more, the stream or the connection ended. */
  readonly signal: AbortSignal
  /** Sends one frame, once credit and socket allow. False when the stream is over and the bytes were not sent. One at a time. */
  write(payload: readonly Uint8Array[]): Promise<boolean>
  /** Ends the stream, once; an unsent frame is dropped. The reader gets what was sent, then the error. */
  end(error?: ProviderError): void
  /** From the peer. Throws WireViolation. */
  grant(bytes: number): void
  /** From the peer, or at the connection's end: stop sending. */
  stop(): void
  readonly credit: number
}

export interface SenderHooks {
  writer: Writer
  /** Says `$/end` to the reader. */
  ended(total: number, error: ProviderError | undefined): void
}

export function createSender(stream: number, hooks: SenderHooks): Sender {
  const over = new AbortController()
  let credit = streamWindowBytes
  let total = 0
  let done = false
  let wake: (() => void) | undefined

  return {
    stream,
    signal: over.signal,
    get credit() {
      return credit
    },
    async write(payload) {
      const bytes = payload.reduce((sum, part) => sum + part.length, 0)
      while (!over.signal.aborted && credit < frameCost(bytes)) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      if (over.signal.aborted) return false
      credit -= frameCost(bytes)
      const taken = (): void => {
        total += bytes
      }
      return await hooks.writer.data({ stream, parts: joined([encodeDataHead(stream, bytes), ...payload], bytes), bytes, taken })
    },
    end(error) {
      if (done) return
      done = true
      over.abort()
      wake?.()
      hooks.writer.dropData(stream)
      hooks.ended(total, error)
    },
    grant(bytes) {
      credit += bytes
      if (credit > streamWindowBytes) throw new WireViolation('over-credit', `stream ${stream} was granted more than was taken`)
      wake?.()
    },
    stop() {
      over.abort()
      wake?.()
    },
  }
}

/** Small frames are one buffer: one entry in the socket's queue, and the source may use its memory again. */
function joined(parts: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  return bytes < joinBelowBytes ? [Buffer.concat(parts)] : parts
}

export interface Receiver {
  readonly stream: number
  /** The next frame's payload; undefined at the end. Throws the stream's error after all bytes. */
  next(): Promise<Buffer | undefined>
  /** Wants no more: what comes is dropped, and the other side is told once. */
  cancel(): void
  /** Ends here at once; what waits is dropped. */
  fail(error: ProviderError): void
  /** From the peer. Both throw WireViolation. */
  data(payload: Buffer): void
  end(total: number, error: ProviderError | undefined): void
  /** Has the writer said that it ended? */
  readonly endSeen: boolean
  /** Has it ended, and all of its bytes come? */
  readonly complete: boolean
  /** Payload bytes that came and were not taken. */
  readonly queuedBytes: number
}

export interface ReceiverHooks {
  /** Longest payload of one frame. */
  maxPayload: number
  grant(bytes: number): void
  cancel(): void
  /** Nothing more will come: the peer forgets the stream. */
  complete(): void
}

export function createReceiver(stream: number, hooks: ReceiverHooks): Receiver {
  const queue: Buffer[] = []
  const waiting: { resolve(payload: Buffer | undefined): void; reject(error: ProviderError): void }[] = []
  let queuedBytes = 0
  let allowed = streamWindowBytes
  let taken = 0
  let received = 0
  let total: number | undefined
  let error: ProviderError | undefined
  let discarding = false
  let complete = false

  function checkComplete(): void {
    if (complete || total === undefined || received < total) return
    complete = true
    hooks.complete()
    if (queue.length === 0) settleWaiting()
  }

  function settleWaiting(): void {
    for (const one of waiting.splice(0)) {
      if (error === undefined) one.resolve(undefined)
      else one.reject(error)
    }
  }

  function take(payload: Buffer): Buffer {
    taken += frameCost(payload.length)
    if (taken >= grantBytes && total === undefined) {
      allowed += taken
      hooks.grant(taken)
      taken = 0
    }
    return payload
  }

  function discard(): void {
    discarding = true
    queue.length = 0
    queuedBytes = 0
    settleWaiting()
  }

  return {
    stream,
    get endSeen() {
      return total !== undefined
    },
    get complete() {
      return complete
    },
    get queuedBytes() {
      return queuedBytes
    },
    next() {
      const payload = queue.shift()
      if (payload !== undefined) {
        queuedBytes -= payload.length
        return Promise.resolve(take(payload))
      }
      if (complete || discarding) return error === undefined ? Promise.resolve(undefined) : Promise.reject(error)
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
    },
    cancel() {
      if (discarding || complete) return
      discard()
      if (total === undefined) hooks.cancel()
    },
    fail(reason) {
      error ??= reason
      discard()
    },
    data(payload) {
      if (payload.length > hooks.maxPayload)
        throw new WireViolation(
          'chunk-size',
          `stream ${stream} sent ${payload.length} bytes in one frame; at most ${hooks.maxPayload}`,
        )
      received += payload.length
      allowed -= frameCost(payload.length)
      if (allowed < 0) throw new WireViolation('over-credit', `stream ${stream} sent more than its credit`)
      if (total !== undefined && received > total)
        throw new WireViolation('over-end', `stream ${stream} sent more than its total`)
      if (!discarding) {
        const own = payload.length < copyBelowBytes ? Buffer.from(payload) : payload
        const first = waiting.shift()
        if (first === undefined) {
          queue.push(own)
          queuedBytes += own.length
        } else first.resolve(take(own))
      }
      checkComplete()
    },
    end(bytes, reason) {
      if (total !== undefined) throw new WireViolation('over-end', `stream ${stream} ended twice`)
      if (bytes - received > allowed) throw new WireViolation('over-credit', `stream ${stream} ended beyond its credit`)
      if (bytes < received) throw new WireViolation('over-end', `stream ${stream} ended at ${bytes} bytes after ${received}`)
      total = bytes
      error ??= reason
      checkComplete()
    },
  }
}

/** One pass over a receiver. `return()` cancels the writer at once, also while a `next()` waits. */
export function iterate<T>(receiver: Receiver, decode: (payload: Buffer) => T): AsyncIterableIterator<T> {
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      const payload = await receiver.next()
      return payload === undefined ? { done: true, value: undefined } : { done: false, value: decode(payload) }
    },
    async return() {
      receiver.cancel()
      return { done: true, value: undefined }
    },
  }
}
