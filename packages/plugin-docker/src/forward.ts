/** A TCP stream to a port inside a worker, over its address on the engine's bridge. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type ForwardInput, ProviderError } from '@muster/core'
import type { ContainerInspect, Engine } from './client.ts'
import { label } from './labels.ts'
import { raceAbort } from './waiting.ts'

/** A bridge is on this machine: an address that does not answer by then is not reachable from here. */
const CONNECT_TIMEOUT_MS = 5_000

/** The worker's address on a bridge; undefined when it has no network. */
function addressOf({ NetworkSettings: settings }: ContainerInspect): string | undefined {
  const networks = Object.values(settings.Networks as Record<string, { IPAddress?: string }>)
  return networks.map(({ IPAddress }) => IPAddress).find((address) => address !== undefined && address !== '')
}

export interface ForwardTarget extends Pick<Engine, 'reach'> {
  container: ContainerInspect
}

/** Connects, sends what comes in, gives what comes out; ends when the worker has ended its half. */
export async function* forwardPort(
  target: ForwardTarget,
  { port, input }: ForwardInput,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const socket = await dial(target, port, signal)
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

async function dial({ container, reach }: ForwardTarget, port: number, signal: AbortSignal): Promise<Duplex> {
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
  if (reach === undefined)
    throw new ProviderError(
      'unsupported',
      "the engine's bridge cannot be reached over TLS: use an engine on this machine, or `ssh`",
      {
        effect: 'none',
        path: 'port',
      },
    )
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)])
  const reaching = reach(host, port)
  try {
    return await raceAbort(reaching, limit)
  } catch (error) {
    reaching.then(
      (socket) => socket.destroy(),
      () => {},
    )
    signal.throwIfAborted()
    if (error instanceof ProviderError) throw error
    const { code } = error as NodeJS.ErrnoException
    const refused = code === 'ECONNREFUSED' || code === 'SSH_CHANNEL'
    const hint = refused ? 'Start the server first.' : "The engine's bridge is reachable from its own machine only."
    throw new ProviderError('transient', `nothing answers at port ${port} of the worker`, { effect: 'none', hint, cause: error })
  }
}

async function send(socket: Duplex, input: AsyncIterable<Uint8Array>): Promise<void> {
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
