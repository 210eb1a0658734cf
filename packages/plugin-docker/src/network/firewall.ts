/** The packets that a worker with restricted egress may send: from the spec's words to rules of iptables. Pure. */
import { isIP } from 'node:net'
import { refuse } from '../settings.ts'

/** One of `network.allow`, taken apart. */
export interface AllowedPlace {
  /** An address, a CIDR, or a name to be resolved. */
  host: string
  kind: 'address' | 'name'
  port?: number
}

/** An address or CIDR of one family that may be reached. */
export interface Destination {
  cidr: string
  family: 4 | 6
  port?: number
}

/** `host`, `host:port`, `address`, `[v6]:port`, CIDR. `at` is the path for errors. */
export function parseAllow(text: string, at: string): AllowedPlace {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text)
  const [, host = text, port] =
    bracketed ?? (isIP(text) === 6 || text.includes('/') ? [] : (/^([^:]+)(?::(\d+))?$/.exec(text) ?? []))
  const number = port === undefined ? undefined : Number(port)
  if (number !== undefined && (number < 1 || number > 65_535)) throw refuse('invalid-spec', at, 'a port is 1 to 65535')
  const [address = '', bits] = host.split('/')
  const family = isIP(address)
  if (family === 0) {
    if (bits !== undefined || !/^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(host))
      throw refuse('invalid-spec', at, 'give a host, host:port, an address or a CIDR')
    return { host, kind: 'name', ...(number === undefined ? {} : { port: number }) }
  }
  if (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)))
    throw refuse('invalid-spec', at, 'a CIDR ends with its number of bits')
  return { host, kind: 'address', ...(number === undefined ? {} : { port: number }) }
}

export function destinationOf(cidr: string, port?: number): Destination {
  const family = cidr.includes(':') ? 6 : 4
  return { cidr, family, ...(port === undefined ? {} : { port }) }
}

/**
 * The filter table of one family, as `iptables-restore` reads it: nothing leaves but what is named, and answers to what came in. It
 * stands in the worker's own network, which its processes cannot change and which ends with them.
 */
export function rulesFor(family: 4 | 6, destinations: readonly Destination[]): string {
  const allowed = destinations
    .filter((destination) => destination.family === family)
    .flatMap(({ cidr, port }) =>
      port === undefined
        ? [`-A OUTPUT -d ${cidr} -j ACCEPT`]
        : ['tcp', 'udp'].map((protocol) => `-A OUTPUT -d ${cidr} -p ${protocol} --dport ${port} -j ACCEPT`),
    )
  // Without neighbour discovery (RFC 4861) no IPv6 address is reached at all; it does not leave the link.
  const neighbours = [135, 136].map((type) => `-A OUTPUT -p icmpv6 --icmpv6-type ${type} -j ACCEPT`)
  return [
    '*filter',
    ':INPUT ACCEPT [0:0]',
    ':FORWARD DROP [0:0]',
    ':OUTPUT DROP [0:0]',
    '-A OUTPUT -o lo -j ACCEPT',
    '-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT',
    ...(family === 6 ? neighbours : []),
    ...allowed,
    // A refusal is an answer at once, not a wait.
    '-A OUTPUT -j REJECT',
    'COMMIT',
    '',
  ].join('\n')
}
