/** The policy of one worker: made before its Pod, and gone with it. */
import { lookup } from 'node:dns/promises'
import { type Call, type LaunchSpec, type OwnerTags, ProviderError, type WorkerId } from '@muster/core'
import { isStatus } from '../api/failure.ts'
import type { Cluster } from '../client.ts'
import { annotation, specDigest, tagsOf } from '../labels.ts'
import { closedOf, type NetworkConfig, placesOf, policyOf } from './network.ts'
import type { HostAlias, NetworkPolicy, Pod } from '../objects.ts'
import { ownerOf } from '../workers.ts'

/** The addresses of a name. */
export type Lookup = (host: string) => Promise<string[]>

const systemLookup: Lookup = async (host) => (await lookup(host, { all: true })).map(({ address }) => address)

export interface PolicyParts {
  cluster: Cluster
  network: NetworkConfig
  lookup?: Lookup | undefined
}

/** A network that is closed before its Pod is there. */
export interface ClosedNetwork {
  /** Names that are put before the worker: it needs no resolver for them. */
  hosts: HostAlias[]
  /** The policy ends with this Pod. */
  own(pod: Pod): Promise<void>
  /** There will be no Pod: what was made for it is taken away. */
  undo(): Promise<void>
}

/** Undefined where the way out is open. */
export async function closeNetwork(parts: PolicyParts, spec: LaunchSpec, call: Call): Promise<ClosedNetwork | undefined> {
  if (closedOf(spec.network) === undefined) return undefined
  const { cluster } = parts
  const { signal } = call
  const { policy, made } = await createOrFind(parts, spec, signal)
  const { name, namespace, uid, annotations = {} } = policy.metadata
  const place = { name, ...(namespace === undefined ? {} : { namespace }), ...(uid === undefined ? {} : { uid }) }
  return {
    hosts: JSON.parse(annotations[annotation.hosts] ?? '[]') as HostAlias[],
    own: async (worker) => {
      const owner = ownerOf(worker)
      await cluster.apply(
        { apiVersion: policy.apiVersion, kind: policy.kind, metadata: { ...place, ownerReferences: [owner] } },
        signal,
      )
    },
    undo: async () => {
      if (made) await cluster.remove('NetworkPolicy', { name, uid }, signal)
    },
  }
}

/** One that is there keeps the addresses that it was made with. */
async function createOrFind(
  { cluster, network, lookup: resolve = systemLookup }: PolicyParts,
  spec: LaunchSpec,
  signal: AbortSignal,
): Promise<{ policy: NetworkPolicy; made: boolean }> {
  const found = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' } as const
  const hosts = await hostsOf(spec, resolve)
  const wanted = policyOf(spec, { namespace: cluster.namespace, hosts, resolvers: network.resolvers })
  try {
    return { policy: { ...(await cluster.create(wanted, signal)), ...found }, made: true }
  } catch (error) {
    if (!isStatus(error, 409, 'AlreadyExists')) throw error
    const policy = await cluster.read<NetworkPolicy>('NetworkPolicy', spec.id, signal)
    if (policy === undefined) throw conflict('the policy of this worker has just gone')
    if (tagsOf(policy.metadata) === undefined || policy.metadata.annotations?.[annotation.spec] !== specDigest(spec))
      throw conflict("a policy of this worker's name was made from another spec")
    return { policy: { ...policy, ...found }, made: false }
  }
}

/** A worker that is not there any more, or never came to be, needs none. One that is owned goes with its owner. */
export async function releasePolicy(
  cluster: Cluster,
  { id, tags }: { id: WorkerId; tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'> },
  signal: AbortSignal,
): Promise<void> {
  const policy = await cluster.read<NetworkPolicy>('NetworkPolicy', id, signal)
  const found = policy === undefined ? undefined : tagsOf(policy.metadata)
  if (policy === undefined || found === undefined) return
  if ((policy.metadata.ownerReferences ?? []).length > 0) return
  if (found['muster-owner'] !== tags['muster-owner'] || found['muster-provider'] !== tags['muster-provider']) return
  await cluster.remove('NetworkPolicy', { name: id, uid: policy.metadata.uid }, signal)
}

/** The names are asked for once, here: no engine of policies knows them. */
async function hostsOf({ network = {} }: LaunchSpec, resolve: Lookup): Promise<HostAlias[]> {
  const names = new Map<string, Set<string>>()
  for (const [index, place] of placesOf(network).entries()) {
    if (place.kind !== 'name') continue
    const addresses = await resolve(place.host).catch((cause: unknown) => {
      const path = `network.allow.${index}`
      throw new ProviderError('transient', `${place.host} has no address now`, { effect: 'none', path, cause })
    })
    for (const ip of addresses) names.set(ip, (names.get(ip) ?? new Set()).add(place.host))
  }
  return [...names].map(([ip, hostnames]) => ({ ip, hostnames: [...hostnames] }))
}

function conflict(message: string): ProviderError {
  return new ProviderError('conflict', message, { effect: 'none' })
}
