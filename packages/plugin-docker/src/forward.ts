/** A TCP stream to a port inside a worker, over its address on the engine's bridge. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type ForwardInput, ProviderError } from '@muster/core'
import type { ContainerInspect } from './client.ts'
import { label } from './labels.ts'

/** A bridge is on this machine: an address that does not answer by then is not reachable from here. */
const CONNECT_TIMEOUT_MS = 5_000

/** The worker's address on a bridge; undefined when it has no network. */
function addressOf({ NetworkSettings: settings }: ContainerInspect): string | undefined {
  const networks = Object.values(settings.Networks as Record<string, { IPAddress?: string }>)
  return networks.map(({ IPAddress }) => IPAddress).find((address) => address !== undefined && address !== '')
}

/** Connects, sends what comes in, gives what comes out; ends when the worker has ended its half. */
export async function* forwardPort(
  container: ContainerInspect,
  { port, input }: ForwardInput,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const socket = await dial(container, port, signal)
  const sending = send(socket, input)
  try {
    for await (const chunk of socket) yield chunk as Buffer
  } catch (error) {
    signal.throwIfAborted()
    throw new ProviderError('transient', `the connection to port ${port} was lost`, { cause: error })
  } finally {
    socket.destroy()
    await sending
  }
}

async function dial(container: ContainerInspect, port: number, signal: AbortSignal): Promise<Socket> {
  const allowed = container.Config.Labels[label.ports]
  if (allowed !== undefined && !allowed.split(',').includes(String(port)))
    throw new ProviderError('invalid-spec', `port ${port} is none of the worker's network.ports`, {
      effect: 'none',
      path: 'port',
    })
  const host = addressOf(container)
  if (host === undefined)
    throw new ProviderError('unsupported', 'a worker without network has no port to reach', {
      effect: 'none',
      path: 'network.egress',
    })
  const socket = connect({ host, port, allowHalfOpen: true })
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)])
  try {
    await once(socket, 'connect', { signal: limit })
    return socket
  } catch (error) {
    socket.destroy()
    signal.throwIfAborted()
    const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
    const hint = refused ? 'Start the server first.' : "The engine's bridge is reachable from its own machine only."
    throw new ProviderError('transient', `nothing answers at port ${port} of the worker`, { effect: 'none', hint, cause: error })
  }
}

async function send(socket: Socket, input: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of input) {
      if (socket.destroyed) return
      if (!socket.write(chunk)) await Promise.race([once(socket, 'drain'), once(socket, 'close')])
    }
    socket.end()
  } catch {
    socket.destroy()
  }
}
