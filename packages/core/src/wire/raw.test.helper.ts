/** The other side of a connection, played by hand: writes what it likes, keeps what comes. */
import { type Duplex, duplexPair } from 'node:stream'
import { createFrameReader, encodeDataHead, encodeMessage } from './frames.ts'

export interface RawMessage {
  id?: number
  method?: string
  params?: Record<string, unknown>
  result?: unknown
  error?: { message: string; data: { code: string; effect: string } }
}

export interface RawSide {
  /** For the side that is tested. */
  readonly socket: Duplex
  readonly messages: RawMessage[]
  readonly data: { stream: number; payload: Buffer }[]
  readonly ended: Promise<void>
  message(message: object): void
  text(text: string): void
  frame(stream: number, payload: Uint8Array): void
  bytes(bytes: Uint8Array): void
  /** Resolves with the first message that fits, past or future. */
  wait(fits: (message: RawMessage) => boolean): Promise<RawMessage>
  /** A request of the method, past or future; each is given once. */
  request(method: string): Promise<RawMessage & { id: number; params: Record<string, unknown> }>
  end(): void
}

export function rawSide(): RawSide {
  const [socket, other] = duplexPair()
  const messages: RawMessage[] = []
  const data: { stream: number; payload: Buffer }[] = []
  const given = new Set<RawMessage>()
  let waiting: (() => void)[] = []
  const ended = Promise.withResolvers<void>()
  const reader = createFrameReader({
    message: (body) => messages.push({ ...(JSON.parse(body.toString()) as RawMessage) }),
    data: (stream, payload) => data.push({ stream, payload: Buffer.from(payload) }),
  })
  other.on('data', (chunk: Buffer) => {
    reader.push(chunk)
    const wake = waiting
    waiting = []
    for (const one of wake) one()
  })
  other.on('end', () => ended.resolve())
  other.on('close', () => ended.resolve())
  other.on('error', () => ended.resolve())

  async function wait(fits: (message: RawMessage) => boolean): Promise<RawMessage> {
    for (;;) {
      const found = messages.find(fits)
      if (found !== undefined) return found
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }

  return {
    socket,
    messages,
    data,
    ended: ended.promise,
    message: (message) => void other.write(encodeMessage(JSON.stringify({ jsonrpc: '2.0', ...message }))),
    text: (text) => void other.write(encodeMessage(text)),
    frame(stream, payload) {
      other.write(encodeDataHead(stream, payload.length))
      if (payload.length > 0) other.write(payload)
    },
    bytes: (bytes) => void other.write(bytes),
    wait,
    async request(method) {
      const found = await wait((one) => one.method === method && one.id !== undefined && !given.has(one))
      given.add(found)
      return { ...found, id: found.id ?? 0, params: found.params ?? {} }
    },
    end: () => void other.end(),
  }
}
