/** A TCP stream to a port inside a worker, over its address on the engine's bridge. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type ForwardInput, ProviderError, type WorkerId } from '@muster/core'
import type { ContainerInspect, Engine } from '../client.ts'
import { label } from '../labels.ts'
import { relayPort } from './relay.ts'
import { raceAbort } from '@muster/provider-parts/waiting'

/** A bridge is on this machine: an address that does not answer by then is not reachable from here. */
const CONNECT_TIMEOUT_MS = 5_000

/** The worker's address on a bridge; undefined when it has no network. */
function addressOf({ NetworkSettings: settings }: ContainerInspect): string | undefined {
  const networks = Object.values(settings.Networks as Record<string, { IPAddress?: string }>)
  return networks.map(({ IPAddress }) => IPAddress).find((address) => address !== undefined && address !== '')
}

export interface ForwardTarget {
  engine: Engine
  id: WorkerId
  /** Who has its network. */
  holder: ContainerInspect
}

/** Connects, sends what comes in, gives what comes out; ends when the worker has ended its half. */
export async function* forwardPort(
  target: ForwardTarget,
  { port, input }: ForwardInput,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const host = hostOf(target, port)
  const { reach } = target.engine
  if (reach === undefined) {
    yield* relayPort(target, { host, port, input }, signal)
    return
  }
  const socket = await dial({ reach, host, port }, signal)
  // It may wait for more long after the other side has ended.
  void send(socket, input)
  try {
    for await (const chunk of socket) yield chunk as Buffer
  } catch (error) {
    signal.throwIfAborted()
    throw new ProviderError('transient', `the connection to port ${port} was lost`, { cause: error })
  } finally {
    socket.destroy()
  }
}

/** Where the worker's ports are; throws for a port that is none of its own. */
function hostOf({ holder }: ForwardTarget, port: number): string {
  const allowed = holder.Config.Labels[label.ports]
  if (allowed !== undefined && !allowed.split(',').includes(String(port)))
    throw new ProviderError('invalid-spec', `port ${port} is none of the worker's network.ports`, {
      effect: 'none',
      path: 'port',
    })
  const host = addressOf(holder)
  if (host === undefined)
    throw new ProviderError('unsupported', 'a worker without network has no port to reach', {
      effect: 'none',
      path: 'network.egress',
    })
  return host
}

interface Dial {
  reach: NonNullable<Engine['reach']>
  host: string
  port: number
}

async function dial({ reach, host, port }: Dial, signal: AbortSignal): Promise<Duplex> {
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
