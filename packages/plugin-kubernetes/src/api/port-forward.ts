/** A TCP stream to a port of a pod, over one WebSocket. */
import { calls, pathOf } from './calls.ts'
import { type Channels, type Limits, openChannels, SEND_SIZE } from './channels.ts'
import { ApiFailure } from './failure.ts'
import type { Transport } from './transport.ts'

export interface ForwardTarget {
  namespace: string
  pod: string
  port: number
  /**
   * What goes to the port. This protocol has no half-close: the end of the input is not told, and the stream goes on until the pod closes
   * it, or `signal` aborts.
   */
  input: AsyncIterable<Uint8Array>
  signal: AbortSignal
  limits?: Partial<Limits>
}

const DATA = 0
const ERROR = 1
/** Each channel begins with the number of its port. */
const PORT_BYTES = 2

/** What comes from the port. Rejects with an ApiFailure when nothing listens there (`REFUSED`) or the connection is lost. */
export async function* forwardPort(transport: Transport, target: ForwardTarget): AsyncGenerator<Buffer> {
  const { namespace, pod, port, input, signal, limits } = target
  const channels = await openChannels(transport, {
    path: pathOf(calls.forward, { namespace, name: pod }),
    query: { ports: port },
    protocols: ['v4.channel.k8s.io'],
    signal,
    ...(limits === undefined ? {} : { limits }),
  })
  void feed(channels, input)
  const unread = [PORT_BYTES, PORT_BYTES]
  try {
    for await (const { channel, data } of channels.frames()) {
      const left = unread[channel] ?? 0
      unread[channel] = Math.max(0, left - data.length)
      const bytes = data.subarray(left)
      if (bytes.length === 0) continue
      if (channel === ERROR) throw new ApiFailure(bytes.toString('utf8').trim(), { code: 'REFUSED', sent: true })
      if (channel === DATA) yield bytes
    }
  } finally {
    channels.close()
  }
}

async function feed(channels: Channels, input: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of input) {
      for (let at = 0; at < chunk.length; at += SEND_SIZE) await channels.send(DATA, chunk.subarray(at, at + SEND_SIZE))
    }
  } catch {
    // The reader of the other way hears of a lost connection; an input that fails ends both.
    channels.close()
  }
}
