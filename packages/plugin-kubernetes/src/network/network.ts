/** What a worker may reach, and what reaches it: from spec and settings to policies and labels. Pure. */
import type { LaunchSpec, NetworkSpec, PoolRef } from '@muster/core'
import { type Address, cidrOf, isPort, isWithin } from './addresses.ts'
import { annotation, label, labelsOf, poolLabels, poolName, specDigest } from '../labels.ts'
import type { HostAlias, NetworkPolicy, PodSpec, PolicyPeer, PolicyPort } from '../objects.ts'
import { type KubernetesSettings, refuse } from '../settings.ts'

/** How a provider closes the network of workers. */
export interface NetworkConfig {
  readonly gate?: GateConfig
  /** CIDRs of the cluster's resolvers. */
  readonly resolvers?: readonly string[]
}

export interface GateConfig {
  readonly image: string
  /** Answers whose way is open; absent: the API server's Service. */
  readonly address?: Address | undefined
  readonly seconds: number
}

/** One of `network.allow`, taken apart. */
export type AllowedPlace = { readonly port?: number } & (
  | { readonly kind: 'cidr'; readonly cidr: string }
  | { readonly kind: 'name'; readonly host: string }
  | { readonly kind: 'namespace'; readonly namespace: string }
)

export const closedKinds = ['none', 'restricted'] as const
export type Closed = (typeof closedKinds)[number]

/** Is its way out not simply open? */
export function closedOf({ egress }: NetworkSpec = {}): Closed | undefined {
  return closedKinds.find((kind) => kind === egress)
}

/** With these it could leave its own network, or send in the name of another Pod. */
const beyondPolicies: readonly string[] = [
  ...['ALL', 'NET_ADMIN', 'NET_RAW', 'SYS_ADMIN', 'SYS_MODULE', 'SYS_PTRACE', 'BPF'],
  ...['DAC_READ_SEARCH', 'SYS_RAWIO'],
]

export function checkNetwork({ network = {}, security = {} }: LaunchSpec, settings: KubernetesSettings, gate?: GateConfig): void {
  const closed = closedOf(network)
  if (network.allow !== undefined && closed !== 'restricted')
    throw refuse('invalid-spec', 'network.allow', 'it goes with egress: restricted')
  if (closed === undefined) return
  checkGate(closed, gate)
  if (security.privileged === true)
    throw refuse('unsupported', 'security.privileged', 'a privileged worker is not bound by its policies')
  const beyond = security.capabilitiesAdd?.find((name) => beyondPolicies.includes(name.toUpperCase().replace(/^CAP_/, '')))
  if (beyond !== undefined)
    throw refuse('unsupported', 'security.capabilitiesAdd', `with ${beyond} a worker is not bound by its policies`)
  const { hostNetwork } = (settings.template?.['spec'] ?? {}) as PodSpec
  if (hostNetwork !== undefined && hostNetwork !== false)
    throw refuse('unsupported', 'settings.template.spec.hostNetwork', 'no policy binds the network of a node')
  for (const [index, place] of placesOf(network).entries())
    if (gate?.address !== undefined && reaches(place, gate.address))
      throw refuse(
        'unsupported',
        `network.allow.${index}`,
        'config.gate.address is among them: it must be forbidden to be seen refused',
      )
}

/** Refuses a closed network that nobody would see closed. */
export function checkGate(closed: Closed, gate: GateConfig | undefined): asserts gate is GateConfig {
  if (gate === undefined)
    throw refuse('unsupported', `network.egress.${closed}`, "the provider's config.gate names no image to see it enforced with")
}

export function placesOf({ allow = [] }: NetworkSpec): AllowedPlace[] {
  return allow.map((text, index) => parseAllow(text, `network.allow.${index}`))
}

/** `host`, address, CIDR, each with `:port` behind it or without; `*.NAMESPACE.svc` is all Pods of a namespace. `at` is for errors. */
export function parseAllow(text: string, at: string): AllowedPlace {
  const [, inner] = /^\[([^\]]+)\]/.exec(text) ?? []
  // The address of IPv6 without brackets has no port.
  const bare = inner === undefined && cidrOf(text) !== undefined
  const [, outer = text, digits] = bare ? [] : (/^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(text) ?? [])
  const host = inner ?? outer
  const number = digits === undefined ? undefined : Number(digits)
  if (number !== undefined && !isPort(number)) throw refuse('invalid-spec', at, 'a port is 1 to 65535')
  const port = number === undefined ? {} : { port: number }
  const cidr = cidrOf(host)
  if (cidr !== undefined) return { kind: 'cidr', cidr, ...port }
  const [, name, namespace] = /^(.+)\.([a-z0-9-]{1,63})\.svc(?:\.cluster\.local)?$/.exec(host) ?? []
  if (namespace !== undefined) {
    if (name === '*') return { kind: 'namespace', namespace, ...port }
    throw refuse('unsupported', at, `no policy knows a Service by name: allow its whole namespace, *.${namespace}.svc`)
  }
  if (inner !== undefined || !/^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(host))
    throw refuse('invalid-spec', at, 'give a host, an address, a CIDR, each with a port or without, or *.NAMESPACE.svc')
  return { kind: 'name', host: host.toLowerCase(), ...port }
}

function reaches(place: AllowedPlace, { host, port }: Address): boolean {
  return place.kind === 'cidr' && isWithin(host, place.cidr) && (place.port ?? port) === port
}

/** Labels of a worker's Pod beside its tags: policies and Services find it by them. */
export function networkLabels({ network }: LaunchSpec, { service }: KubernetesSettings): Record<string, string> {
  return {
    [label.part]: 'worker',
    ...(network?.egress === undefined ? {} : { [label.egress]: network.egress }),
    ...(service === undefined ? {} : { [label.service]: service.name }),
  }
}

/** The worker's own name, among those of its pool. */
export function nameOf({ id, tags }: LaunchSpec): Pick<PodSpec, 'hostname' | 'subdomain'> {
  return { hostname: id, subdomain: poolName(tags) }
}

/** All that a worker with a closed network may send. `hosts`: the addresses of the names. */
export function policyOf(
  spec: LaunchSpec,
  { namespace, hosts, resolvers }: { namespace: string; hosts: readonly HostAlias[]; resolvers?: readonly string[] | undefined },
): NetworkPolicy {
  const places = placesOf(spec.network ?? {})
  // A rule without peers would be one for everywhere.
  const egress = places.map((place) => ({ to: peersOf(place, hosts), ...portsOf(place) })).filter(({ to }) => to.length > 0)
  const named = places.some(({ kind }) => kind === 'namespace')
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name: spec.id,
      namespace,
      labels: labelsOf({ ...spec, labels: {} }),
      annotations: { [annotation.spec]: specDigest(spec), [annotation.hosts]: JSON.stringify(hosts) },
    },
    spec: {
      podSelector: { matchLabels: { ...poolLabels(spec.tags), 'muster-worker': spec.id } },
      policyTypes: ['Egress'],
      egress: [
        ...egress,
        // What has names in the cluster is found by them.
        ...(named ? [{ to: resolverPeers(resolvers), ports: both(53) }] : []),
      ],
    },
  }
}

/** Where most clusters resolve names: kubeadm and the large vendors label them so. */
const clusterDns: PolicyPeer = {
  namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
  podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
}

function resolverPeers(resolvers: readonly string[] | undefined): PolicyPeer[] {
  return resolvers?.map((cidr) => ({ ipBlock: { cidr } })) ?? [clusterDns]
}

const both = (port: number): PolicyPort[] => [
  { protocol: 'TCP', port },
  { protocol: 'UDP', port },
]

function portsOf({ port }: AllowedPlace): { ports?: PolicyPort[] } {
  return port === undefined ? {} : { ports: both(port) }
}

function peersOf(place: AllowedPlace, hosts: readonly HostAlias[]): PolicyPeer[] {
  if (place.kind === 'cidr') return [{ ipBlock: { cidr: place.cidr } }]
  if (place.kind === 'namespace')
    return [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': place.namespace } } }]
  const own = hosts.filter(({ hostnames }) => hostnames.includes(place.host))
  return own.map(({ ip }) => ({ ipBlock: { cidr: cidrOf(ip) ?? ip } }))
}

/**
 * What holds for all workers of a pool whose network is closed, beside their own policies, which add to it: nothing goes out, and only
 * workers of the same pool come in, and whoever is in the namespace at the ports of the pool's Service.
 */
export function poolPolicyOf(tags: PoolRef['tags'], { service }: KubernetesSettings, namespace: string): NetworkPolicy {
  const matchLabels = poolLabels(tags)
  const ports = service?.ports.map(({ port, target = port, protocol = 'TCP' }): PolicyPort => ({ protocol, port: target }))
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: poolName(tags), namespace, labels: { ...matchLabels, [label.part]: 'policy' } },
    spec: {
      podSelector: { matchLabels, matchExpressions: [{ key: label.egress, operator: 'In', values: [...closedKinds] }] },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        { from: [{ podSelector: { matchLabels } }] },
        ...(ports === undefined ? [] : [{ from: [{ podSelector: {} }], ports }]),
      ],
    },
  }
}
