/** The open streams of one connection, by id. The host numbers them, rising; the plugin takes the numbers from a call's params. */
import type { ProviderError } from '../errors.ts'
import { WireViolation } from './close.ts'
import { maxChunkBytes } from './limits.ts'
import { createReceiver, createSender, type Receiver, type Sender } from './streams.ts'
import type { Writer } from './writer.ts'

export interface StreamTable {
  /** The host's next id. */
  next(): number
  openSender(stream: number): Sender
  /** `maxPayload`: longest payload of one frame; default {@link maxChunkBytes}, as of byte streams. */
  openReceiver(stream: number, maxPayload?: number): Receiver
  /** The other side will never hear of it. */
  forget(stream: number): void
  /** From the peer; each throws WireViolation when the stream is not one it may speak of. */
  data(stream: number, payload: Buffer): void
  /** False: that stream is over, as its reader may not know yet. */
  credit(stream: number, bytes: number): boolean
  /** As {@link StreamTable.credit}. */
  cancel(stream: number): boolean
  end(stream: number, total: { bytes: number; error: ProviderError | undefined }): void
  /** The connection has ended. */
  fail(error: ProviderError): void
  stats(): { senders: number; receivers: number; receivedBytes: number }
}

export interface StreamHooks {
  writer: Writer
  credit(stream: number, bytes: number): void
  cancel(stream: number): void
  end(stream: number, total: { bytes: number; error: ProviderError | undefined }): void
}

export function createStreamTable(hooks: StreamHooks): StreamTable {
  const senders = new Map<number, Sender>()
  const receivers = new Map<number, Receiver>()
  let last = 0
  let failed: ProviderError | undefined

  function register(stream: number): void {
    if (stream <= last) throw new WireViolation('unknown-stream', `stream ${stream} after ${last}`)
    last = stream
  }

  /** One that ended may still get what its reader said before it knew. */
  function senderOf(stream: number): Sender | undefined {
    const sender = senders.get(stream)
    if (sender === undefined && (stream > last || receivers.has(stream)))
      throw new WireViolation('unknown-stream', `stream ${stream} is not written here`)
    return sender
  }

  function receiverOf(stream: number): Receiver {
    const receiver = receivers.get(stream)
    if (receiver === undefined) throw new WireViolation('unknown-stream', `stream ${stream} is not read here`)
    return receiver
  }

  return {
    next: () => last + 1,
    openSender(stream) {
      register(stream)
      const sender = createSender(stream, {
        writer: hooks.writer,
        ended(bytes, error) {
          if (senders.delete(stream)) hooks.end(stream, { bytes, error })
        },
      })
      if (failed === undefined) senders.set(stream, sender)
      else sender.stop()
      return sender
    },
    openReceiver(stream, maxPayload = maxChunkBytes) {
      register(stream)
      const receiver = createReceiver(stream, {
        maxPayload,
        grant: (bytes) => hooks.credit(stream, bytes),
        cancel() {
          if (receivers.has(stream)) hooks.cancel(stream)
        },
        complete: () => receivers.delete(stream),
      })
      if (failed === undefined) receivers.set(stream, receiver)
      else receiver.fail(failed)
      return receiver
    },
    forget(stream) {
      senders.get(stream)?.stop()
      senders.delete(stream)
      receivers.delete(stream)
    },
    data: (stream, payload) => receiverOf(stream).data(payload),
    credit(stream, bytes) {
      const sender = senderOf(stream)
      sender?.grant(bytes)
      return sender !== undefined
    },
    cancel(stream) {
      const sender = senderOf(stream)
      sender?.stop()
      return sender !== undefined
    },
    end: (stream, { bytes, error }) => receiverOf(stream).end(bytes, error),
    fail(error) {
      failed = error
      for (const one of senders.values()) one.stop()
      for (const one of receivers.values()) one.fail(error)
      senders.clear()
      receivers.clear()
    },
    stats() {
      let receivedBytes = 0
      for (const one of receivers.values()) receivedBytes += one.queuedBytes
      return { senders: senders.size, receivers: receivers.size, receivedBytes }
    },
  }
}
