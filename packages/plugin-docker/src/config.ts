/** The configuration of one provider that uses this plugin (`providers.<name>.config` in `muster.yaml`). */
import { ProviderError } from '@muster/core'
import * as z from 'zod'
import { type Bind, rulesShape } from './rules.ts'

/** Where Docker's own packages put the engine's socket. */
export const defaultSocket = '/var/run/docker.sock'

export interface DockerConfig {
  /** Path of the engine's unix socket. */
  readonly socket?: string
  /** `host:port` of an engine that listens on this machine's loopback, without TLS. */
  readonly address?: string
  readonly binds?: readonly Bind[]
  readonly firewall?: { readonly image: string }
}

/** Where the engine listens, as the client needs it. */
export type Endpoint = { readonly socketPath: string } | { readonly host: string; readonly port: number }

/** An engine without TLS gives root to whoever reaches it, so that nothing but loopback is accepted. */
const loopback = /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}$/

export const configSchema: z.ZodType<DockerConfig> = z.strictObject({
  socket: z.string().regex(/^\//).describe("Path of the engine's unix socket.").exactOptional(),
  address: z.string().regex(loopback).describe('host:port of an engine on loopback, without TLS.').exactOptional(),
  ...rulesShape,
})

/** Checks a configuration and says where the engine is. An error is `invalid-spec` with the field's path. */
export function parseConfig(input: unknown): Endpoint {
  const parsed = configSchema.safeParse(input ?? {})
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused(issue?.message ?? 'the configuration is not valid', issue?.path.map(String) ?? [])
  }
  const { socket, address } = parsed.data
  if (address === undefined) return Object.freeze({ socketPath: socket ?? defaultSocket })
  if (socket !== undefined) throw refused('an engine has one place: give `socket` or `address`, not both', ['address'])
  const at = address.lastIndexOf(':')
  const port = Number(address.slice(at + 1))
  if (port < 1 || port > 65_535) throw refused('a port is 1 to 65535', ['address'])
  return Object.freeze({ host: address.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port })
}

function refused(message: string, path: readonly string[]): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'none', path: ['config', ...path].join('.') })
}
