/** The configuration of one provider that uses this plugin (`providers.<name>.config` in `muster.yaml`). */
import { ProviderError } from '@muster/core'
import * as z from 'zod'
import { type CopiesConfig, type CopyLimits, copiesSchema, copyLimitsOf } from '@muster/provider-parts/copies'
import { type HostKey, parseHostKey } from './engine/host-keys.ts'
import { imageRulesOf, type ImageRules, type ImagesConfig, imagesSchema } from './images/image-rules.ts'
import { type RoomConfig, type RoomLimits, roomLimitsOf, roomSchema } from './room-limits.ts'
import { type HostRules, type RulesConfig, rulesOf, rulesShape } from './rules.ts'

/** Where Docker's own packages put the engine's socket. */
export const defaultSocket = '/var/run/docker.sock'

export interface DockerConfig extends RulesConfig {
  /** Path of the engine's unix socket; with `ssh` on that machine. */
  readonly socket?: string
  /** `host:port` of an engine that listens on TCP: on this machine's loopback, or anywhere with `tls`. */
  readonly address?: string
  readonly tls?: { readonly name?: string; readonly trust?: 'secret' | 'system' }
  readonly ssh?: { readonly url: string; readonly hostKeys: readonly string[] }
  readonly images?: ImagesConfig
  readonly copies?: CopiesConfig
  readonly room?: RoomConfig
}

/** Where the engine listens, as the client needs it. */
export type Endpoint = LocalEndpoint | TlsEndpoint | SshEndpoint

export type LocalEndpoint = { readonly socketPath: string } | { readonly host: string; readonly port: number }

export interface TlsEndpoint {
  readonly host: string
  readonly port: number
  /** `name`: what the engine's certificate must be for. `trust`: which authorities count. */
  readonly tls: { readonly name: string; readonly trust: 'secret' | 'system' }
}

export interface SshEndpoint {
  readonly ssh: {
    readonly user: string
    readonly host: string
    readonly port: number
    /** The machine has one of these. */
    readonly hostKeys: readonly HostKey[]
    /** Path of the engine's socket on that machine. */
    readonly socketPath: string
  }
}

/** A configuration that was checked. */
export interface CheckedConfig {
  readonly endpoint: Endpoint
  readonly images: ImageRules
  readonly copies: CopyLimits
  readonly room: RoomLimits
  readonly rules: HostRules
}

/** An engine without TLS gives root to whoever reaches it, so that nothing but loopback is accepted. */
const loopback = /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}$/

const name = z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/)

export const configSchema: z.ZodType<DockerConfig> = z.strictObject({
  socket: z.string().regex(/^\//).describe("Path of the engine's unix socket; with `ssh`, on that machine.").exactOptional(),
  address: z
    .string()
    .regex(/^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):\d{1,5}$/)
    .describe('host:port of an engine on TCP: on loopback, or anywhere with `tls`.')
    .exactOptional(),
  tls: z
    .strictObject({
      name: name.describe("What the engine's certificate is for. Default: the host of `address`.").exactOptional(),
      trust: z
        .enum(['secret', 'system'])
        .describe('`secret` (default): the authority in the secret `tls-ca`; `system`: the usual ones.')
        .exactOptional(),
    })
    .describe('The engine asks for a client certificate: the secrets `tls-cert` and `tls-key`, in PEM form.')
    .exactOptional(),
  ssh: z
    .strictObject({
      url: z
        .string()
        .regex(/^ssh:\/\/[^\s/@:]+@(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(?::\d{1,5})?$/)
        .describe('ssh://user@host:port of the machine. The private key is the secret `ssh-key`.'),
      hostKeys: z
        .array(z.string().min(1))
        .min(1)
        .describe("The machine's host keys: lines of known_hosts, public keys, or fingerprints as `SHA256:…`."),
    })
    .describe("The engine's socket is on another machine, reached by ssh.")
    .exactOptional(),
  images: imagesSchema.exactOptional(),
  copies: copiesSchema.exactOptional(),
  room: roomSchema.exactOptional(),
  ...rulesShape,
})

/** Checks a configuration: where the engine is, and what the operator lets workers have. An error is `invalid-spec` with the field's path. */
export function parseConfig(input: unknown): CheckedConfig {
  const parsed = configSchema.safeParse(input ?? {})
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused(issue?.message ?? 'the configuration is not valid', issue?.path.map(String) ?? [])
  }
  const endpoint = Object.freeze(endpointOf(parsed.data))
  const rules = rulesOf(parsed.data, socketOf(endpoint))
  const { images = {}, copies = {}, room = {} } = parsed.data
  const limits = { copies: copyLimitsOf(copies), room: roomLimitsOf(room) }
  return Object.freeze({ endpoint, images: imageRulesOf(images), ...limits, rules })
}

/** The path of the engine's socket on its own machine, where the configuration says it. */
function socketOf(endpoint: Endpoint): string | undefined {
  if ('ssh' in endpoint) return endpoint.ssh.socketPath
  return 'socketPath' in endpoint ? endpoint.socketPath : undefined
}

function endpointOf({ socket, address, tls, ssh }: DockerConfig): Endpoint {
  if (tls !== undefined && address === undefined) throw refused('TLS needs the `address` of an engine on TCP', ['tls'])
  if (ssh !== undefined) {
    if (address !== undefined) throw refused('an engine has one place: give `address` or `ssh`, not both', ['address'])
    return sshEndpoint(ssh, socket ?? defaultSocket)
  }
  if (address === undefined) return { socketPath: socket ?? defaultSocket }
  if (socket !== undefined) throw refused('an engine has one place: give `socket` or `address`, not both', ['address'])
  const at = address.lastIndexOf(':')
  const [host, port] = [bare(address.slice(0, at)), portOf(address.slice(at + 1), ['address'])]
  if (tls !== undefined) return { host, port, tls: { name: tls.name ?? host, trust: tls.trust ?? 'secret' } }
  if (!loopback.test(address)) throw refused('an engine beyond loopback is reached with `tls` or by `ssh` only', ['address'])
  return { host, port }
}

function sshEndpoint({ url, hostKeys }: NonNullable<DockerConfig['ssh']>, socketPath: string): SshEndpoint {
  const [, user = '', place = '', given = '22'] = /^ssh:\/\/([^@]+)@(.*?)(?::(\d+))?$/.exec(url) ?? []
  const [host, port] = [bare(place), portOf(given, ['ssh', 'url'])]
  const keys = hostKeys.map((line, index) => {
    try {
      return parseHostKey(line, { host, port })
    } catch (error) {
      throw refused((error as Error).message, ['ssh', 'hostKeys', String(index)])
    }
  })
  return { ssh: { user: decodeURIComponent(user), host, port, hostKeys: keys, socketPath } }
}

/** `[::1]` as `::1`. */
function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

function portOf(text: string, path: readonly string[]): number {
  const port = Number(text)
  if (port < 1 || port > 65_535) throw refused('a port is 1 to 65535', path)
  return port
}

function refused(message: string, path: readonly string[]): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'none', path: ['config', ...path].join('.') })
}
