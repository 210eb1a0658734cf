/** A TCP stream to a port that a worker listens on. The network is the machine's own, so that whose port it is must be looked at. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type ForwardInput, ProviderError } from '@muster/core'
import { refused } from './errors.ts'
import type { WorkerState } from './folder.ts'

/** State 0A of `/proc/net/tcp`: listening. */
const LISTEN = '0A'

/** Refuses ports that the spec does not name and, where the worker has a user of its own, ports of anybody else. */
export async function checkPort(state: WorkerState, port: number): Promise<void> {
  if (state.ports !== undefined && !state.ports.includes(port))
    throw refused('invalid-spec', 'port', { message: `port ${port} is not among the worker’s ports` })
  if (state.user === undefined) return
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'latin1').catch(() => '')))
  if (!tables.some((table) => listens(table, { port, uid: state.user?.uid ?? -1 })))
    throw new ProviderError('transient', `the worker does not listen on port ${port}`, {
      effect: 'none',
      hint: 'Nothing of this worker listens on that port yet.',
    })
}

/** Pure: the kernel's table of TCP sockets, proc_net_tcp.txt. */
export function listens(table: string, { port, uid }: { port: number; uid: number }): boolean {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  return table.split('\n').some((line) => {
    const [, local = '', , state, , , , owner] = line.trim().split(/\s+/)
    return local.endsWith(`:${wanted}`) && state === LISTEN && Number(owner) === uid
  })
}

export async function* forwarded(
  { port, input }: ForwardInput,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal.throwIfAborted()
  const socket = await dial(port, signal)
  const abort = (): void => {
    socket.destroy(signal.reason as Error)
  }
  signal.addEventListener('abort', abort, { once: true })
  try {
    // Its failure ends the socket, which the reader below sees.
    pipeline(Readable.from(input), socket, { end: true }).catch(() => undefined)
    for await (const chunk of socket) yield chunk as Uint8Array
  } finally {
    signal.removeEventListener('abort', abort)
    socket.destroy()
  }
}

/** A worker's server may listen on either loopback; the failure that is told is that of IPv4. */
async function dial(port: number, signal: AbortSignal): Promise<Socket> {
  let failure: unknown
  for (const host of ['127.0.0.1', '::1']) {
    // The worker may end its side first and still read ours.
    const socket = connect({ host, port, allowHalfOpen: true })
    try {
      await once(socket, 'connect', { signal })
      return socket
    } catch (error) {
      socket.destroy()
      signal.throwIfAborted()
      failure ??= error
    }
  }
  throw failure
}
