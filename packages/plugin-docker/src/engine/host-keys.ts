/** Which host keys a machine may show. Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; fingerprints as OpenSSH prints them. Pure. */
import { createHash, createHmac } from 'node:crypto'

export interface HostKey {
  /** As `SHA256:…`, without padding. */
  readonly fingerprint: string
  /** As `ssh-ed25519`; unknown where only a fingerprint was given. */
  readonly type?: string
}

/** `SHA256:` and the base64 of the digest of a public key's bytes. */
export function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}

/**
 * One entry: a fingerprint, a public key (`ssh-ed25519 AAAA…`), or a line of known_hosts for this machine, its names hashed or not.
 * Throws an Error that says what is wrong with it.
 */
export function parseHostKey(text: string, machine: { host: string; port: number }): HostKey {
  const line = text.trim()
  if (/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(line)) return { fingerprint: line.replace(/=$/, '') }
  if (line.startsWith('@')) throw new Error(`${line.split(/\s/)[0]} is not supported: give the machine's own keys`)
  const words = line.split(/\s+/)
  const [first = '', second = '', third = ''] = words
  const alone = isType(first)
  const [type, key] = alone ? [first, second] : [second, third]
  const bytes = Buffer.from(key, 'base64')
  if (!isType(type) || typeIn(bytes) !== type)
    throw new Error('it is no fingerprint (SHA256:…), public key, or line of known_hosts')
  if (!alone && !first.split(',').some((pattern) => names(pattern, machine)))
    throw new Error(`this line of known_hosts is for another machine than ${nameOf(machine)}`)
  return { fingerprint: fingerprintOf(bytes), type }
}

/** What to ask the machine for, so that it shows a key that is known; undefined: any. */
export function algorithmsFor(keys: readonly HostKey[]): string[] | undefined {
  const types = keys.flatMap(({ type }) => (type === undefined ? [] : [type]))
  if (types.length < keys.length) return undefined
  // One and the same RSA key, signed with three digests: the first of them, SHA-1, is broken.
  return [...new Set(types)].flatMap((type) => (type === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [type]))
}

function isType(word: string): boolean {
  return /^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521))$/.test(word)
}

/** A public key begins with its own type (RFC 4253, 6.6). */
function typeIn(key: Buffer): string | undefined {
  return key.length < 4 ? undefined : key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1')
}

function nameOf({ host, port }: { host: string; port: number }): string {
  return port === 22 ? host : `[${host}]:${port}`
}

function names(pattern: string, machine: { host: string; port: number }): boolean {
  const name = nameOf(machine)
  const [, salt, hash] = /^\|1\|([^|]+)\|([^|]+)$/.exec(pattern) ?? []
  if (salt === undefined || hash === undefined) return pattern === name
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest('base64') === hash
}
