/** Addresses as text: alone, with a port, as a block. Pure. */
import { BlockList, isIP } from 'node:net'

export interface Address {
  host: string
  port: number
}

/** `10.0.0.1:443` or `[fd00::1]:443`; undefined for anything else. */
export function addressOf(text: string): Address | undefined {
  const [, v6, v4, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? []
  const host = v6 ?? v4 ?? ''
  const port = Number(digits)
  const family = v6 === undefined ? 4 : 6
  return isIP(host) === family && isPort(port) ? { host, port } : undefined
}

/** An address or a CIDR as a CIDR; undefined for anything else. */
export function cidrOf(text: string): string | undefined {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  const most = family === 4 ? 32 : 128
  if (family === 0 || rest.length > 0) return undefined
  if (bits === undefined) return `${address}/${most}`
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most ? text : undefined
}

export function isWithin(address: string, cidr: string): boolean {
  const [block = '', bits] = cidr.split('/')
  const [family, other] = [address, block].map((one) => (isIP(one) === 6 ? 'ipv6' : 'ipv4'))
  if (family !== other) return false
  const blocks = new BlockList()
  blocks.addSubnet(block, Number(bits), family)
  return blocks.check(address, family)
}

export function isPort(port: number): boolean {
  return port >= 1 && port <= 65_535
}
