/** Addresses to listen on: written, read, and whether they stay on this machine. */
import { isIPv4, isIPv6 } from 'node:net'

export interface ListenAddress {
  /** Without brackets. */
  host: string
  port: number
}

/** `host:port`, an address of IPv6 in brackets; undefined when it is none. Ports above 65535 are read, so that they can be named. */
export function parseAddress(text: string): ListenAddress | undefined {
  const [, inner, plain, port] = /^(?:\[([^\]]+)\]|([^:/[\]\s]+)):(\d{1,5})$/.exec(text) ?? []
  const host = inner ?? plain
  if (host === undefined || (inner !== undefined && !isIPv6(inner))) return undefined
  return { host, port: Number(port) }
}

/** As it stands in a URL. */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** As it stands where no port follows: without the brackets of a URL. */
export function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}

/** `::` and `0.0.0.0` are every address of the machine, and so not loopback. One of IPv4 may be written as one of IPv6. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  if (isIPv4(host)) return host.startsWith('127.')
  // In a URL every spelling of it becomes one.
  const address = isIPv6(host) ? URL.parse(`http://[${host}]`)?.hostname : undefined
  return address === '[::1]' || /^\[::ffff:7f[0-9a-f]{2}:/.test(address ?? '')
}

/** Of listen: it is no address of this machine. */
export function isAbsent({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'ENOTFOUND'
}
