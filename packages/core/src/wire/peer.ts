/** A JSON-RPC 2.0 peer with streams over one duplex; the same on both sides. Whatever breaks the protocol ends the connection. */
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers'
import type * as z from 'zod'
import type { ProviderError } from '../errors.ts'
import { type CloseReason, closedError, WireViolation } from './close.ts'
import { fromWireError, toWireError, type WireError } from './error-data.ts'
import { createFrameReader, encodeMessage } from './frames.ts'
import { decodeJson, encodeJson } from './json.ts'
import { frameStallMs, lateOfStream, maxOpenRequests, maxQueuedControl } from './limits.ts'
import {
  describeIssues,
  errorMessageSchema,
  type NotificationName,
  notificationMessageSchema,
  type Notifications,
  notificationSchemas,
  requestMessageSchema,
  resultMessageSchema,
} from './messages.ts'
import { waitPatiently } from './patience.ts'
import { createStreamTable, type StreamTable } from './stream-table.ts'
import { createTurnMeter } from './turn.ts'
import { createWriter, type Lane, type QueuedMessage, type WriterStats } from './writer.ts'

export interface PeerHandlers {
  /** A request came; answer it once with {@link Peer.answer} or {@link Peer.refuse}. All three may throw WireViolation. */
  request(message: { id: number; method: string; params: unknown }): void
  /** `$/cancel` of a request that is open here. */
  cancelled(id: number): void
  /** `$/started` of a request of ours. */
  started(id: number): void
  /** `$/spans`; absent: none are due. */
  spans?(batch: Notifications['$/spans']): void
}

export interface PeerOptions {
  /** Most requests and notifications that the other side may send in a second; default: no limit. */
  unaskedPerSecond?: number
  /** Most that the other side may say of what is over, beyond what may cross with its end; default: no limit. */
  late?: number
}

export interface PeerAnswer {
  result: unknown
  /** Bytes of the whole message. */
  bytes: number
}

export interface AskOptions {
  lane: Lane
  method: string
  /** JSON text. */
  params: string
  /** The other side will hear of it: from now on its streams may be spoken of. */
  onSent?(): void
}

export interface Outgoing {
  readonly id: number
  /** Rejects with ProviderError: the other side's, or the connection's end. */
  readonly answer: Promise<PeerAnswer>
  /** May the other side have seen it? */
  readonly sent: boolean
  /** Nobody waits any more: takes it back when it was not sent. True when it never will be. */
  withdraw(): boolean
  /** Has the other side answered? */
  readonly answered: boolean
}

export interface PeerStats extends WriterStats {
  /** Requests of ours without an answer; those nobody waits for, too. */
  asked: number
  /** Requests of the other side without an answer. */
  open: number
  senders: number
  receivers: number
  /** Bytes that came on streams and were not taken by their consumers. */
  receivedBytes: number
  /** The most that one turn of the event loop has taken from the other side. */
  busiest: { bytes: number; frames: number }
}

export interface Peer {
  request(request: AskOptions): Outgoing
  /** `result` is JSON text. */
  answer(id: number, result: string): void
  refuse(id: number, error: WireError): void
  notify<N extends NotificationName>(name: N, params: Notifications[N]): void
  readonly streams: Pick<StreamTable, 'next' | 'openSender' | 'openReceiver' | 'forget'>
  readonly closed: Promise<CloseReason>
  readonly closing: CloseReason | undefined
  /** Ends at once. */
  close(reason: CloseReason): void
  /** Writes what is queued, then ends. */
  finish(message: string): Promise<void>
  stats(): PeerStats
}

interface Asked {
  resolve(answer: PeerAnswer): void
  reject(error: ProviderError): void
  queued: QueuedMessage
}

export function createPeer(socket: Duplex, handlers: PeerHandlers, options: PeerOptions = {}): Peer {
  const { unaskedPerSecond = Number.POSITIVE_INFINITY, late: mostLate = Number.POSITIVE_INFINITY } = options
  const writer = createWriter(socket)
  const asked = new Map<number, Asked>()
  const open = new Set<number>()
  const streams = createStreamTable({
    writer,
    credit: (stream, bytes) => notify('$/credit', { stream, bytes }),
    cancel: (stream) => notify('$/cancelStream', { stream }),
    end(stream, { bytes, error }) {
      if (error === undefined) return notify('$/end', { stream, bytes })
      const { message, data } = toWireError(error)
      notify('$/end', { stream, bytes, error: { message, data } })
    },
  })
  let lastAsked = 0
  let lastSeen = 0
  let unasked = { since: 0, cost: 0 }
  let requests = 0
  let late = 0
  let closing: CloseReason | undefined
  const { promise: closed, resolve: settleClosed } = Promise.withResolvers<CloseReason>()

  function send(lane: Lane, text: string, onSent?: () => void): QueuedMessage {
    return writer.message(lane, encodeMessage(text), onSent)
  }

  function notify<N extends NotificationName>(name: N, params: Notifications[N]): void {
    send('control', `{"jsonrpc":"2.0","method":"${name}","params":${encodeJson(params)}}`)
  }

  function close(reason: CloseReason): void {
    if (closing !== undefined) return
    closing = reason
    stall?.()
    for (const one of asked.values()) one.reject(closedError(reason, one.queued.sent ? 'possible' : 'none'))
    asked.clear()
    open.clear()
    writer.stop()
    streams.fail(closedError(reason, 'possible'))
    socket.destroy()
    settleClosed(reason)
  }

  function onMessage(body: Buffer): void {
    let message: unknown
    try {
      message = decodeJson(body)
    } catch (error) {
      throw new WireViolation('bad-json', `a message that is no JSON: ${error instanceof Error ? error.message : ''}`)
    }
    if (typeof message !== 'object' || message === null) throw new WireViolation('bad-message', 'a message that is no object')
    if (!('method' in message)) return onAnswer(message, body.length)
    countUnasked(body.length)
    if ('id' in message) onRequest(message)
    else onNotification(message)
  }

  /** What the other side sends of its own accord costs us time and memory, and has a limit. */
  function countUnasked(bytes: number): void {
    const now = performance.now()
    if (now - unasked.since > 1000) unasked = { since: now, cost: 0 }
    unasked.cost += 1 + bytes / 1024
    if (unasked.cost > unaskedPerSecond) throw new WireViolation('flood', `more than ${unaskedPerSecond} messages in a second`)
    if (writer.waiting('control') > maxQueuedControl)
      throw new WireViolation('flood', 'it asks, and does not read what is answered')
  }

  /** What does nothing has no limit in a second alone: how fast it comes depends on the machine. */
  function countLate(): void {
    const crossing = requests + lateOfStream * (streams.next() - 1)
    if (++late > mostLate + crossing) throw new WireViolation('flood', `more than ${mostLate} messages about what is over`)
  }

  function onRequest(message: object): void {
    const { id, method, params } = parse(requestMessageSchema, message, 'bad-message')
    // Ids rise, but lanes may re-order them.
    if (open.has(id)) throw new WireViolation('duplicate-id', `request ${id} twice`)
    if (open.size >= maxOpenRequests) throw new WireViolation('flood', `more than ${maxOpenRequests} open requests`)
    lastSeen = Math.max(lastSeen, id)
    open.add(id)
    requests++
    handlers.request({ id, method, params })
  }

  function onAnswer(message: object, bytes: number): void {
    const answer =
      'error' in message ? parse(errorMessageSchema, message, 'bad-message') : parse(resultMessageSchema, message, 'bad-message')
    const one = asked.get(answer.id)
    if (one?.queued.sent !== true) {
      const made = answer.id <= lastAsked && one === undefined
      throw made
        ? new WireViolation('duplicate-answer', `a second answer to request ${answer.id}`)
        : new WireViolation('unknown-id', `an answer to request ${answer.id}, which was never made`)
    }
    asked.delete(answer.id)
    if ('error' in answer) one.reject(fromWireError(answer.error))
    else one.resolve({ result: answer.result, bytes })
  }

  function onNotification(message: object): void {
    const { method, params } = parse(notificationMessageSchema, message, 'bad-message')
    switch (method) {
      case '$/cancel': {
        const { id } = parse(notificationSchemas[method], params, 'bad-params')
        if (id > lastSeen) throw new WireViolation('unknown-id', `cancel of request ${id}, which was never made`)
        return open.has(id) ? handlers.cancelled(id) : countLate()
      }
      case '$/started': {
        const { id } = parse(notificationSchemas[method], params, 'bad-params')
        if (asked.get(id)?.queued.sent !== true)
          throw new WireViolation('unknown-id', `start of request ${id}, which is not open`)
        return handlers.started(id)
      }
      case '$/spans': {
        if (handlers.spans === undefined) throw new WireViolation('unknown-method', 'spans where none are due')
        return handlers.spans(parse(notificationSchemas[method], params, 'bad-params'))
      }
      case '$/credit': {
        const { stream, bytes } = parse(notificationSchemas[method], params, 'bad-params')
        return streams.credit(stream, bytes) ? undefined : countLate()
      }
      case '$/cancelStream':
        return streams.cancel(parse(notificationSchemas[method], params, 'bad-params').stream) ? undefined : countLate()
      case '$/end': {
        const { stream, bytes, error } = parse(notificationSchemas[method], params, 'bad-params')
        return streams.end(stream, { bytes, error: error === undefined ? undefined : fromWireError({ code: 0, ...error }) })
      }
      default:
        throw new WireViolation('unknown-method', `unknown notification ${method}`)
    }
  }

  const reader = createFrameReader({ message: onMessage, data: streams.data })
  /** Ends the look at a frame that is half here. */
  let stall: (() => void) | undefined

  /** Looks now and then whether the frame that is half here is still the same one. */
  function watchStall(): void {
    stall = undefined
    if (!reader.partial || closing !== undefined) return
    const { frames } = reader
    stall = waitPatiently(frameStallMs, {
      done: () => !reader.partial || reader.frames !== frames,
      settled: watchStall,
      late: () => close(violated('frame-stalled', `a frame did not end within ${frameStallMs} ms`)),
    })
  }

  const turn = createTurnMeter()

  socket.on('data', (chunk: Buffer) => {
    if (closing !== undefined) return
    const { frames } = reader
    try {
      reader.push(chunk)
    } catch (error) {
      // Whatever a message can do to us ends its connection, never the process.
      if (error instanceof WireViolation) close(violated(error.code, error.message))
      else close({ kind: 'failed', message: error instanceof Error ? error.message : 'reading failed' })
    }
    if (!turn.took(chunk.length, reader.frames - frames)) {
      socket.pause()
      setImmediate(() => socket.resume())
    }
    if (stall === undefined) watchStall()
  })
  let farewell: CloseReason | undefined
  const ended = (): void => close(farewell ?? { kind: 'ended', message: 'the other side went away' })
  socket.on('end', ended)
  socket.on('close', ended)
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || error.code === 'ECONNRESET') ended()
    else close({ kind: 'failed', message: error.message })
  })

  return {
    request({ lane, method, params, onSent }) {
      const id = ++lastAsked
      const { promise, resolve, reject } = Promise.withResolvers<PeerAnswer>()
      const queued = send(lane, `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`, onSent)
      if (closing === undefined) asked.set(id, { resolve, reject, queued })
      else reject(closedError(closing, 'none'))
      return {
        id,
        answer: promise,
        get sent() {
          return queued.sent
        },
        get answered() {
          return !asked.has(id)
        },
        withdraw() {
          const unsent = queued.drop()
          if (unsent) asked.delete(id)
          return unsent
        },
      }
    },
    answer(id, result) {
      if (!open.has(id)) return
      send('control', `{"jsonrpc":"2.0","id":${id},"result":${result}}`)
      open.delete(id)
    },
    refuse(id, error) {
      if (open.delete(id)) send('control', `{"jsonrpc":"2.0","id":${id},"error":${encodeJson(error)}}`)
    },
    notify,
    streams,
    closed,
    get closing() {
      return closing
    },
    close,
    async finish(message) {
      await writer.flushed()
      farewell = { kind: 'closed', message }
      writer.stop()
      await new Promise<void>((resolve) => {
        if (socket.destroyed) resolve()
        else socket.end(() => resolve())
      })
      close(farewell)
    },
    stats: () => ({ ...writer.stats(), asked: asked.size, open: open.size, ...streams.stats(), busiest: turn.busiest }),
  }
}

function violated(violation: WireViolation['code'], message: string): CloseReason {
  return { kind: 'violation', violation, message }
}

function parse<T>(schema: z.ZodType<T>, value: unknown, code: WireViolation['code']): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new WireViolation(code, describeIssues(result.error).message)
}
