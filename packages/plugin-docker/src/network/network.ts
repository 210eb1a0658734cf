/** What a worker reaches and is reached by: from spec and settings to networks, addresses and names of the engine. Pure. */
import { createHash } from 'node:crypto'
import type { LaunchSpec } from '@muster/core'
import type { CreateBody } from '../client.ts'
import { parseAllow } from './firewall.ts'
import { containerName, partLabel } from '../labels.ts'
import type { HostRules } from '../rules.ts'
import { type DockerSettings, type NetworkSettings, refuse } from '../settings.ts'

type HostConfig = NonNullable<CreateBody['HostConfig']>

export interface NetworkMake {
  name: string
  /** Without a way out. */
  internal: boolean
  labels: Record<string, string>
  /** As `fd12:…::/64`. */
  ipv6?: string
}

export interface NetworkPlan {
  /** The worker's own, as the engine takes it; absent: the engine's default. */
  mode?: string
  /** Made before the worker starts. */
  networks: NetworkMake[]
  /** The container whose network the worker shares, and the networks that it is on. */
  gate?: { name: string; networks: string[] }
  /** Where services are. */
  services?: string
}

/** Capabilities with which a worker could change its own rules, send past them, or reach files and memory of the machine. */
const beyondRules: readonly string[] = [
  ...['ALL', 'NET_ADMIN', 'NET_RAW', 'SYS_ADMIN', 'SYS_MODULE', 'SYS_PTRACE', 'BPF'],
  ...['DAC_READ_SEARCH', 'SYS_RAWIO'],
]

export function checkNetwork(spec: LaunchSpec, settings: DockerSettings, rules: HostRules): void {
  const { egress, allow } = spec.network ?? {}
  const { scope = 'engine', aliases, publish, hosts } = settings.network ?? {}
  const host = settings.hostNamespaces?.includes('network') === true
  if (allow !== undefined && egress !== 'restricted')
    throw refuse('invalid-spec', 'network.allow', 'it goes with egress: restricted')
  if (host && (settings.network !== undefined || (spec.services ?? []).length > 0))
    throw refuse('invalid-spec', 'settings.hostNamespaces', "on the machine's own network there is nothing to set")
  if (egress === 'none' && (publish !== undefined || scope !== 'engine'))
    throw refuse('invalid-spec', `settings.network.${publish === undefined ? 'scope' : 'publish'}`, 'egress: none has no network')
  if (aliases !== undefined && planOf(spec, settings).networks.length === 0)
    throw refuse('invalid-spec', 'settings.network.aliases', 'names need a network of the pool or of the worker')
  if (hosts !== undefined && egress === 'none')
    throw refuse('invalid-spec', 'settings.network.hosts', 'egress: none has no network')
  for (const [index, text] of (allow ?? []).entries()) parseAllow(text, `network.allow.${index}`)
  if (egress === 'none' || egress === 'restricted')
    for (const [index, { readiness }] of (spec.services ?? []).entries())
      if (readiness !== undefined && readiness.check.kind !== 'exec')
        throw refuse(
          'unsupported',
          `services.${index}.readiness.check`,
          `with egress: ${egress} nothing outside reaches it: use exec`,
        )
  if (egress === 'restricted') checkRestricted(spec, settings, rules)
}

/** Refuses checks that are made from here, where there is no way from here to the engine's networks. */
export function checkUnreached({ services = [] }: LaunchSpec): void {
  for (const [index, { readiness }] of services.entries())
    if (readiness !== undefined && readiness.check.kind !== 'exec')
      throw refuse(
        'unsupported',
        `services.${index}.readiness.check`,
        "the engine's bridge cannot be reached over TLS: use exec, an engine on this machine, or `ssh`",
      )
}

function checkRestricted(spec: LaunchSpec, settings: DockerSettings, rules: HostRules): void {
  if (rules.firewall === undefined)
    throw refuse('unsupported', 'network.egress.restricted', "the provider's config.firewall names no image to enforce it with")
  for (const name of spec.security?.capabilitiesAdd ?? [])
    if (beyondRules.includes(name.toUpperCase().replace(/^CAP_/, '')))
      throw refuse('unsupported', 'security.capabilitiesAdd', `with ${name} a worker is not bound by its rules`)
  if (spec.security?.privileged === true)
    throw refuse('unsupported', 'security.privileged', 'a privileged worker is not bound by its rules')
  if (settings.allow?.includes('engine-socket') === true)
    throw refuse('invalid-spec', 'settings.allow', "with the engine's socket a worker is not bound by its rules")
  if (settings.network?.scope === 'pool')
    throw refuse('invalid-spec', 'settings.network.scope', 'with egress: restricted each worker has a network of its own')
  if (settings.network?.dns !== undefined)
    throw refuse(
      'unsupported',
      'settings.network.dns',
      'a worker with restricted egress asks no resolver: allowed names are put before it',
    )
}

export function planOf(spec: LaunchSpec, settings: DockerSettings): NetworkPlan {
  const egress = spec.network?.egress
  const { scope = 'engine', ipv6 = false } = settings.network ?? {}
  const own = containerName(spec.id)
  const services = (spec.services ?? []).length > 0
  const make = (name: string, internal: boolean): NetworkMake => ({
    name,
    internal,
    labels: { ...spec.tags, [partLabel.part]: 'network' },
    ...(ipv6 && !internal ? { ipv6: subnetOf(name) } : {}),
  })
  if (settings.hostNamespaces?.includes('network') === true) return { mode: 'host', networks: [] }
  if (egress === 'restricted') {
    const networks = [make(`${own}-out`, false), ...(services ? [make(`${own}-net`, true)] : [])]
    const gate = { name: gateName(spec), networks: networks.map(({ name }) => name) }
    return { mode: `container:${gate.name}`, networks, gate, ...(services ? { services: `${own}-net` } : {}) }
  }
  if (services || (scope === 'worker' && egress !== 'none')) {
    const name = `${own}-net`
    return { mode: name, networks: [make(name, egress === 'none')], ...(services ? { services: name } : {}) }
  }
  if (scope === 'pool' && egress !== 'none') {
    const { 'muster-owner': owner, 'muster-provider': provider, 'muster-pool': pool } = spec.tags
    const name = `muster-pool-${digest(`${owner} ${provider} ${pool} ${ipv6}`).slice(0, 24)}`
    const labels = { 'muster-owner': owner, 'muster-provider': provider, 'muster-pool': pool, [partLabel.part]: 'pool' }
    return { mode: name, networks: [{ name, internal: false, labels, ...(ipv6 ? { ipv6: subnetOf(name) } : {}) }] }
  }
  return { networks: [], ...(egress === undefined ? {} : { mode: egress === 'none' ? 'none' : 'bridge' }) }
}

function gateName({ id }: Pick<LaunchSpec, 'id'>): string {
  return `${containerName(id)}-gate`
}

/** A unique local one (RFC 4193), the same for the same name. */
function subnetOf(name: string): string {
  const hex = digest(name)
  return `fd${hex.slice(0, 2)}:${hex.slice(2, 6)}:${hex.slice(6, 10)}:${hex.slice(10, 14)}::/64`
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The parts of a create that are the network's; of a worker behind a gate they are the gate's, which `addressed` says. */
export function networkOf(
  spec: LaunchSpec,
  settings: DockerSettings,
): { Hostname?: string; HostConfig: HostConfig; NetworkingConfig?: object } {
  const { mode, gate, networks } = planOf(spec, settings)
  const closed = networks.some(({ internal }) => internal)
  if (gate !== undefined) return { HostConfig: mode === undefined ? {} : { NetworkMode: mode } }
  return {
    ...(mode === 'host' ? {} : { Hostname: spec.id }),
    HostConfig: {
      ...(mode === undefined ? {} : { NetworkMode: mode }),
      ...(closed ? noResolver : {}),
      ...addressed(settings.network),
    },
    ...(mode === undefined ? {} : endpointOf(mode, settings)),
  }
}

/**
 * For a container on a network without a way out. What an engine's own resolver does not know it asks this one, from inside the network:
 * nobody is there. Without it, the machine's resolver would be asked from outside (CVE-2024-29018).
 */
export const noResolver: { readonly Dns: string[] } = { Dns: ['127.0.0.1'] }

/** The names that a container has on the network of that name. */
export function endpointOf(network: string, { network: { aliases } = {} }: DockerSettings): { NetworkingConfig?: object } {
  return aliases === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: aliases } } } }
}

/** Ports, names and resolvers, as the engine takes them. */
export function addressed({ publish, hosts, dns }: NetworkSettings = {}): HostConfig {
  const ports = publish?.map(({ port, protocol = 'tcp', hostPort, address = '127.0.0.1' }): [string, object[]] => [
    `${port}/${protocol}`,
    [{ HostIp: address, HostPort: hostPort === undefined ? '' : String(hostPort) }],
  ])
  return {
    ...(ports === undefined ? {} : { PortBindings: Object.fromEntries(ports) }),
    ...(hosts === undefined ? {} : { ExtraHosts: Object.entries(hosts).map(([name, address]) => `${name}:${address}`) }),
    ...(dns === undefined ? {} : { Dns: dns }),
  }
}

/** The ports that a create must name for the engine to publish them. */
export function exposedPorts({ publish }: NetworkSettings = {}): { ExposedPorts?: Record<string, object> } {
  if (publish === undefined) return {}
  return { ExposedPorts: Object.fromEntries(publish.map(({ port, protocol = 'tcp' }) => [`${port}/${protocol}`, {}])) }
}
