/** A WebSocket of several channels to an API server, https://kubernetes.io/docs/reference/using-api/websocket/: it always settles. */
import { WebSocket } from 'ws'
import { ApiFailure, refusal, toFailure } from './failure.ts'
import type { QueryValue, Transport } from './transport.ts'
import { urlOf } from './transport.ts'
import { abortReason } from '@muster/provider-parts/waiting'

export interface Frame {
  channel: number
  data: Buffer
}

export interface Channels {
  /** Which of the offered ones the server took. */
  readonly protocol: string
  readonly limits: Limits
  /** Is more to come than its reader has taken? */
  isHeld(): boolean
  /** Settles once the bytes are on their way: a receiver that does not read holds the sender. Rejects when the connection is gone. */
  send(channel: number, data: Uint8Array): Promise<void>
  /** What comes, in its order; ends when the server closes in order, rejects when the connection is lost. To be read by one. */
  frames(): AsyncGenerator<Frame>
  close(): void
}

export interface Dial {
  path: string
  query: Readonly<Record<string, QueryValue>>
  protocols: readonly string[]
  /** Its abort ends the connection, at any time. */
  signal: AbortSignal
  limits?: Partial<Limits>
}

export interface Limits {
  pingMs: number
  /** No sign of life for so long: the connection is dead. */
  silenceMs: number
  /** The same, while the other side may be held by what it was sent: it reads pings only after that. */
  heldMs: number
  handshakeMs: number
  /** A command's end was told: its last output is on its way, and the server closes after it. */
  lingerMs: number
  /** Bytes that wait for their reader before nothing more is read. */
  buffer: number
}

/** Load balancers drop what is silent for a minute: three pings in it, and two of them may be lost. */
const LIMITS: Limits = {
  ...{ pingMs: 15_000, silenceMs: 50_000, heldMs: 600_000 },
  ...{ handshakeMs: 30_000, lingerMs: 10_000, buffer: 1024 * 1024 },
}
/** A frame of more than that is no frame of a kubelet, which copies 32 KiB at a time. */
const MAX_FRAME = 16 * 1024 * 1024
/** As large as what kubelets send. */
export const SEND_SIZE: number = 32 * 1024

export async function openChannels(transport: Transport, dial: Dial): Promise<Channels> {
  const limits = { ...LIMITS, ...dial.limits }
  return transport.dial(dial.signal, async ({ server, options }) => {
    const socket = new WebSocket(urlOf(server, dial), [...dial.protocols], {
      agent: options.agent || undefined,
      headers: options.headers as Record<string, string>,
      handshakeTimeout: limits.handshakeMs,
      perMessageDeflate: false,
      maxPayload: MAX_FRAME,
    })
    const channels = wrap(socket, dial.signal, limits)
    await shakeHands(socket, dial.signal)
    return channels
  })
}

function shakeHands(socket: WebSocket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', (error) => reject(signal.aborted ? abortReason(signal) : unsent(error)))
    socket.once('unexpected-response', (request, answer) => {
      const chunks: Buffer[] = []
      const { statusCode: status = 0, headers } = answer
      const settle = (): void => {
        reject(refusal({ status, retryAfter: headers['retry-after'], body: Buffer.concat(chunks).toString('utf8') }))
        request.destroy()
      }
      // A Status is one chunk; more of another answer says nothing more.
      answer
        .on('data', (chunk: Buffer) => chunks.length < 16 && chunks.push(chunk))
        .on('end', settle)
        .on('error', settle)
    })
  })
}

/** Whether a command was started is not known once the request was written; before, nothing was. */
function unsent(error: Error): ApiFailure {
  const { code } = error as NodeJS.ErrnoException
  const never = code !== undefined && ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN'].includes(code)
  return new ApiFailure(error.message, { ...(code === undefined ? {} : { code }), sent: !never, cause: error })
}

function wrap(socket: WebSocket, signal: AbortSignal, limits: Limits): Channels {
  const waiting: Frame[] = []
  let size = 0
  let wake = (): void => {}
  let end: { failure?: Error } | undefined
  const pulse = keepAlive(socket, limits, (failure) => finish({ failure }))

  const finish = (how: { failure?: Error }): void => {
    if (end !== undefined) return
    end = how
    pulse.stop()
    signal.removeEventListener('abort', onAbort)
    if (socket.readyState !== WebSocket.CLOSED) socket.terminate()
    wake()
  }
  const onAbort = (): void => finish({ failure: abortReason(signal) })
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })

  socket.on('message', (data: Buffer, binary) => {
    pulse.heard()
    // Text is the base64 protocol's, which was not offered.
    if (!binary) return finish({ failure: new ApiFailure('a frame of text', { code: 'BAD_ANSWER', sent: true }) })
    if (data.length === 0) return undefined
    waiting.push({ channel: data[0] ?? 0, data: data.subarray(1) })
    size += data.length
    if (size > limits.buffer) socket.pause()
    return wake()
  })
  socket.on('error', (error) => finish({ failure: toFailure(error) }))
  socket.on('close', (code, reason) => {
    if (code === 1000) finish({})
    else
      finish({ failure: new ApiFailure(`the connection was lost (${code} ${reason.toString()})`, { code: 'LOST', sent: true }) })
  })

  return {
    get protocol() {
      return socket.protocol
    },
    limits,
    isHeld: () => socket.isPaused,
    send: (channel, data) =>
      new Promise((resolve, reject) => {
        if (end !== undefined) return reject(gone(end.failure))
        pulse.sent()
        return socket.send(Buffer.concat([Buffer.of(channel), data]), (error) => (error ? reject(gone(error)) : resolve()))
      }),
    async *frames() {
      for (;;) {
        const frame = waiting.shift()
        if (frame !== undefined) {
          size -= frame.data.length + 1
          if (socket.isPaused && size < limits.buffer / 4) {
            pulse.heard()
            socket.resume()
          }
          yield frame
        } else if (end === undefined) await new Promise<void>((resolve) => (wake = resolve))
        else if (end.failure === undefined) return
        else throw end.failure
      }
    },
    close: () => finish({ failure: new ApiFailure('closed here', { code: 'CLOSED', sent: true }) }),
  }
}

function gone(cause: Error | undefined): ApiFailure {
  return new ApiFailure('the connection is gone', { code: 'LOST', sent: true, ...(cause === undefined ? {} : { cause }) })
}

interface Pulse {
  heard(): void
  sent(): void
  stop(): void
}

/** Pings, and ends a connection that shows no life. While nothing is read, because its reader is slow, nothing can be heard either. */
function keepAlive(socket: WebSocket, limits: Limits, give: (failure: ApiFailure) => void): Pulse {
  let heardAt = performance.now()
  let held = false
  let sends = 0
  const timer = setInterval(() => {
    const now = performance.now()
    // The handshake has a time of its own.
    if (socket.isPaused || socket.readyState === WebSocket.CONNECTING) heardAt = now
    if (now - heardAt > (held ? limits.heldMs : limits.silenceMs))
      give(new ApiFailure('the connection showed no life', { code: 'SILENT', sent: true }))
    else if (socket.readyState === WebSocket.OPEN) socket.ping(String(sends))
  }, limits.pingMs)
  timer.unref()
  socket.on('pong', (data: Buffer) => {
    heardAt = performance.now()
    // It answers after it has read what was sent before the ping.
    if (data.toString('latin1') === String(sends)) held = false
  })
  return {
    heard() {
      heardAt = performance.now()
    },
    sent() {
      sends++
      held = true
    },
    stop: () => clearInterval(timer),
  }
}
