/** How a plugin's process reaches its vendor: through the proxy and by the authorities that the host was told of. */
import type * as Http from 'node:http'
import type * as Tls from 'node:tls'
import type { PluginNetwork } from '../plugin.ts'
import type { Redactor } from './redact.ts'

/**
 * Loaded by whoever has a network. An `import` of `node:http` reads all of its names as well, and some of them load the whole of Node's fetch: a
 * fifth of what a plugin takes to start.
 */
const http = (): typeof Http => process.getBuiltinModule('node:http')
const tls = (): typeof Tls => process.getBuiltinModule('node:tls')

/** A proxy has another loopback than we. Node asks for `::1` with its brackets, some libraries without. */
const loopback = ['localhost', '127.0.0.1', '[::1]', '::1']

/**
 * The same as variables. They are not in the environment of the process: there everybody who may see the process could read the password
 * of the proxy, and its children would have it.
 */
export function proxyVariables({ proxy, noProxy = [] }: PluginNetwork): Record<string, string> {
  if (proxy === undefined) return {}
  return { HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: [...loopback, ...noProxy].join(',') }
}

/** The certificates that are trusted: Node's own and ours. */
export function trusted({ ca }: PluginNetwork): string[] | undefined {
  return ca === undefined ? undefined : [...tls().getCACertificates('default'), ca]
}

/** From now on `fetch`, and `node:http` and `node:https` without an agent of their own, go by it; TLS connections trust its authorities. */
export function useNetwork(network: PluginNetwork, redactor: Redactor): void {
  if (network.proxy !== undefined) {
    for (const secret of proxySecrets(network.proxy)) redactor.add(secret)
    http().setGlobalProxyFromEnv(proxyVariables(network))
  }
  const certificates = trusted(network)
  if (certificates !== undefined) tls().setDefaultCACertificates(certificates)
}

/** A name as long as this, without a password, is a token. */
const tokenChars = 16

/** What of a proxy's address must not be shown; nothing when it has no secret. */
export function proxySecrets(proxy: string): string[] {
  const { username, password } = new URL(proxy)
  if (password === '') return username.length < tokenChars ? [] : [username, decodeURIComponent(username)]
  const [name, word] = [decodeURIComponent(username), decodeURIComponent(password)]
  // As in the address, as in the header, and alone.
  return [`${username}:${password}`, `${name}:${word}`, password, word]
}
