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

/** As the kernel writes addresses, on machines that have the low byte first. */
const LOOPBACK = '0100007F'
const ANY = '00000000'
const ANY6 = '0'.repeat(32)
const MAPPED = '0000000000000000FFFF0000'

/** Who answers at a host: whoever has just this address, else whoever has all of them. A socket of IPv6 may have those of IPv4 too. */
const answering = [
  { host: '127.0.0.1', exact: [LOOPBACK, MAPPED + LOOPBACK], all: [ANY, MAPPED + ANY, ANY6] },
  { host: '::1', exact: ['00000000000000000000000001000000'], all: [ANY6] },
]

/**
 * The loopbacks where a port of the worker answers. Refuses ports that the spec does not name and, where the worker has a user of its own,
 * ports of anybody else.
 */
export async function hostsOf(state: WorkerState, port: number): Promise<readonly string[]> {
  if (state.ports !== undefined && !state.ports.includes(port))
    throw refused('invalid-spec', 'port', { message: `port ${port} is not among the worker’s ports` })
  if (state.user === undefined) return answering.map(({ host }) => host)
  const [tcp = '', tcp6 = ''] = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'latin1').catch(() => '')),
  )
  const hosts = ownHosts({ tcp, tcp6 }, { port, uid: state.user.uid })
  if (hosts.length === 0)
    throw new ProviderError('transient', `the worker does not listen on port ${port}`, {
      effect: 'none',
      hint: 'No loopback has a server of this worker alone on that port yet.',
    })
  return hosts
}

/** Pure: the loopbacks where this user answers and nobody else can. The kernel's tables of TCP sockets, proc_net_tcp.txt. */
export function ownHosts({ tcp, tcp6 }: { tcp: string; tcp6: string }, { port, uid }: { port: number; uid: number }): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const listening = `${tcp}\n${tcp6}`.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , owner] = line.trim().split(/\s+/)
    const [address = '', at] = local.split(':')
    return at === wanted && state === LISTEN ? [{ address, owner: Number(owner) }] : []
  })
  const at = (addresses: string[]): typeof listening => listening.filter(({ address }) => addresses.includes(address))
  return answering
    .filter(({ exact, all }) => {
      const just = at(exact)
      const those = just.length > 0 ? just : at(all)
      return those.length > 0 && those.every(({ owner }) => owner === uid)
    })
    .map(({ host }) => host)
}

export async function* forwarded(
  { port, input }: ForwardInput,
  hosts: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal.throwIfAborted()
  const socket = await dial(port, hosts, signal)
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

/** A worker's server may listen on either loopback; the failure that is told is the first. */
async function dial(port: number, hosts: readonly string[], signal: AbortSignal): Promise<Socket> {
  let failure: unknown
  for (const host of hosts) {
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
