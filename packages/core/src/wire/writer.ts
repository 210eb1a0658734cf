/**
 * The one writer of a connection. Order: control, terminate, launch, other requests, then stream data, one frame of each
 * stream in turn. Nothing is handed to a full socket, so that a late `terminate` passes all that still waits.
 */
import type { Duplex } from 'node:stream'

/** Lanes of messages, first served first. */
export const lanes = ['control', 'terminate', 'launch', 'other'] as const
export type Lane = (typeof lanes)[number]

export interface QueuedMessage {
  /** Takes it out when it was not handed over yet. True when it will never be sent. */
  drop(): boolean
  readonly sent: boolean
}

export interface DataFrame {
  stream: number
  /** Head and payload. */
  parts: readonly Uint8Array[]
  /** Payload bytes. */
  bytes: number
  /** It is handed to the socket and can no longer be dropped. */
  taken(): void
}

export interface WriterStats {
  messages: Record<Lane, number>
  /** Data frames that wait, at most one a stream, and their payload bytes. */
  dataFrames: number
  dataBytes: number
  /** Bytes in the socket's own buffer: what nothing can pass. */
  socketBytes: number
}

export interface Writer {
  /** `onSent`: right after it was handed to the socket. */
  message(lane: Lane, frame: Buffer, onSent?: () => void): QueuedMessage
  /** Queues one frame; one per stream at a time. Resolves true when the system has its bytes, false when it was dropped. */
  data(frame: DataFrame): Promise<boolean>
  dropData(stream: number): void
  /** Resolves when everything queued so far is with the socket. */
  flushed(): Promise<void>
  /** Messages of a lane that wait. */
  waiting(lane: Lane): number
  stats(): WriterStats
  /** Drops everything. */
  stop(): void
}

interface Waiting {
  frame: Buffer
  onSent: (() => void) | undefined
  state: 'queued' | 'sent' | 'dropped'
}

interface WaitingData extends DataFrame {
  settle(written: boolean): void
}

export function createWriter(socket: Duplex): Writer {
  const queues: Record<Lane, Queue<Waiting>> = { control: queue(), terminate: queue(), launch: queue(), other: queue() }
  const counts: Record<Lane, number> = { control: 0, terminate: 0, launch: 0, other: 0 }
  /** In turn: insertion order, and a stream has at most one frame here. */
  const data = new Map<number, WaitingData>()
  let dataBytes = 0
  let scheduled = false
  let stopped = false
  let idle: (() => void)[] = []

  function schedule(): void {
    if (scheduled || stopped) return
    scheduled = true
    queueMicrotask(pump)
  }

  function nextMessage(): Waiting | undefined {
    for (const lane of lanes) {
      for (let one = queues[lane].take(); one !== undefined; one = queues[lane].take()) {
        if (one.state === 'dropped') continue
        one.state = 'sent'
        counts[lane]--
        return one
      }
    }
    return undefined
  }

  function nextData(): WaitingData | undefined {
    for (const one of data.values()) {
      data.delete(one.stream)
      dataBytes -= one.bytes
      return one
    }
    return undefined
  }

  function pump(): void {
    scheduled = false
    if (stopped) return
    socket.cork()
    while (!socket.writableNeedDrain) {
      const message = nextMessage()
      if (message !== undefined) {
        socket.write(message.frame)
        message.onSent?.()
        continue
      }
      const frame = nextData()
      if (frame === undefined) break
      writeData(frame)
    }
    socket.uncork()
    if (!pending()) settleIdle()
  }

  function writeData(frame: WaitingData): void {
    frame.taken()
    const last = frame.parts.length - 1
    frame.parts.forEach((part, index) => {
      if (index < last) socket.write(part)
      else socket.write(part, (error) => frame.settle(error === null || error === undefined))
    })
  }

  function pending(): boolean {
    return data.size > 0 || lanes.some((lane) => counts[lane] > 0)
  }

  function settleIdle(): void {
    const waiting = idle
    idle = []
    for (const done of waiting) done()
  }

  socket.on('drain', pump)

  return {
    message(lane, frame, onSent) {
      const waiting: Waiting = { frame, onSent, state: stopped ? 'dropped' : 'queued' }
      if (!stopped) {
        queues[lane].put(waiting)
        counts[lane]++
        schedule()
      }
      return {
        get sent() {
          return waiting.state === 'sent'
        },
        drop() {
          if (waiting.state === 'queued') {
            waiting.state = 'dropped'
            counts[lane]--
          }
          return waiting.state === 'dropped'
        },
      }
    },
    data(frame) {
      if (stopped) return Promise.resolve(false)
      if (data.has(frame.stream)) throw new Error('one frame of a stream at a time')
      return new Promise((settle) => {
        data.set(frame.stream, { ...frame, settle })
        dataBytes += frame.bytes
        schedule()
      })
    },
    dropData(stream) {
      const one = data.get(stream)
      if (one === undefined) return
      data.delete(stream)
      dataBytes -= one.bytes
      one.settle(false)
    },
    flushed() {
      if (stopped) return Promise.resolve()
      return new Promise((resolve) => {
        idle.push(resolve)
        schedule()
      })
    },
    waiting: (lane) => counts[lane],
    stats() {
      return { messages: { ...counts }, dataFrames: data.size, dataBytes, socketBytes: socket.writableLength }
    },
    stop() {
      if (stopped) return
      stopped = true
      for (const one of data.values()) one.settle(false)
      data.clear()
      dataBytes = 0
      for (const lane of lanes) {
        queues[lane].clear()
        counts[lane] = 0
      }
      settleIdle()
    },
  }
}

interface Queue<T> {
  put(value: T): void
  take(): T | undefined
  clear(): void
}

/** First in, first out, without moving what waits. */
function queue<T>(): Queue<T> {
  let values: T[] = []
  let head = 0
  return {
    put(value) {
      values.push(value)
    },
    take() {
      const value = values[head]
      if (value === undefined) return undefined
      head++
      if (head === values.length || head === 1024) {
        values = values.slice(head)
        head = 0
      }
      return value
    },
    clear() {
      values = []
      head = 0
    },
  }
}
