/** What of a cluster the provider asks: a few requests about the Pods of one namespace, and nothing else. */
import { type ApiCall, calls, type Right, rightsOf } from './api/calls.ts'
import type { ClusterClient } from './api/client.ts'
import { isStatus } from './api/failure.ts'
import type { MissingRight } from './api/requests.ts'
import type { ClusterEvent, NodeObject, Pod, PodList, PodManifest, ResourceQuota, SecretManifest } from './objects.ts'

export interface PodQuery {
  selector: string
  limit?: number
  /** Goes on after the page before. */
  rest?: string | undefined
}

/** One namespace of a cluster. */
export interface Cluster {
  readonly namespace: string
  readonly client: ClusterClient
  /** The version of the API server, as `v1.34.1`. */
  version(signal: AbortSignal): Promise<string>
  /** What we would need here, and may not. */
  missing(signal: AbortSignal): Promise<MissingRight[]>
  /** `dryRun`: all checks, and nothing is made. */
  createPod(pod: PodManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Pod>
  /** Undefined when there is none. */
  readPod(name: string, signal: AbortSignal): Promise<Pod | undefined>
  listPods(query: PodQuery, signal: AbortSignal): Promise<PodList>
  /** Asks for its end; gives it as it is then, or undefined when there is none with this uid. */
  deletePod(name: string, how: { uid: string; graceSeconds: number; signal: AbortSignal }): Promise<Pod | undefined>
  /** Warnings about Pods. */
  listEvents(signal: AbortSignal): Promise<ClusterEvent[]>
  listQuotas(signal: AbortSignal): Promise<ResourceQuota[]>
  /** All nodes, and all Pods on them; undefined where we may not see them. */
  listNodes(signal: AbortSignal): Promise<{ nodes: NodeObject[]; pods: Pod[] } | undefined>
  /** One of this name that is there already stays. */
  putSecret(secret: SecretManifest, signal: AbortSignal): Promise<void>
}

/** Every call that the provider makes and cannot do without: its Role is generated from them. Nodes are the cluster's, and seen where that is granted. */
const made: readonly ApiCall[] = [
  ...[calls.createPod, calls.getPod, calls.listPods, calls.watchPods, calls.deletePod, calls.listEvents],
  ...[calls.readLog, calls.exec, calls.forward, calls.createSecret, calls.listQuotas],
]

export const rights: readonly Right[] = rightsOf(made)

export function createCluster(client: ClusterClient, namespace: string): Cluster {
  const { requests, transport } = client
  const place = (name?: string): { namespace: string; name?: string } => ({ namespace, ...(name === undefined ? {} : { name }) })

  return {
    namespace,
    client,

    async version(signal) {
      const { gitVersion } = await transport.json<{ gitVersion: string }>({ method: 'GET', path: '/version', signal })
      return gitVersion
    },

    missing: (signal) => requests.missing(rights, namespace, signal),

    createPod: (pod, { dryRun = false, signal }) =>
      requests.create<Pod>(calls.createPod, pod, {
        signal,
        query: { fieldManager: 'muster', fieldValidation: 'Strict', dryRun: dryRun ? 'All' : undefined },
      }),

    readPod: (name, signal) => orAbsent(requests.get<Pod>(calls.getPod, place(name), { signal })),

    listPods: ({ selector, limit, rest }, signal) =>
      requests.page<Pod>(calls.listPods, place(), { signal, query: { labelSelector: selector, limit, continue: rest } }),

    async deletePod(name, how) {
      try {
        return await orAbsent(requests.delete<Pod>(calls.deletePod, place(name), how))
      } catch (error) {
        if (!isStatus(error, 409)) throw error
        // Another one has the name, unless somebody refuses the end of this very one.
        const now = await orAbsent(requests.get<Pod>(calls.getPod, place(name), { signal: how.signal }))
        if (now?.metadata.uid === how.uid) throw error
        return undefined
      }
    },

    async listEvents(signal) {
      const query = { fieldSelector: 'involvedObject.kind=Pod,type=Warning' }
      return (await requests.all<ClusterEvent>(calls.listEvents, place(), { signal, query })).items
    },

    async listQuotas(signal) {
      return (await requests.all<ResourceQuota>(calls.listQuotas, place(), { signal })).items
    },

    async listNodes(signal) {
      try {
        const nodes = await requests.all<NodeObject>(calls.listNodes, {}, { signal })
        const query = { fieldSelector: 'spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed' }
        const pods = await requests.all<Pod>(calls.listPods, {}, { signal, query })
        return { nodes: nodes.items, pods: pods.items }
      } catch (error) {
        if (isStatus(error, 403)) return undefined
        throw error
      }
    },

    async putSecret(secret, signal) {
      try {
        await requests.create(calls.createSecret, secret, { signal, query: { fieldManager: 'muster' } })
      } catch (error) {
        if (!isStatus(error, 409, 'AlreadyExists')) throw error
      }
    },
  }
}

async function orAbsent<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    // What stands before an API server, and does not know the way, has the same number.
    if (isStatus(error, 404, 'NotFound')) return undefined
    throw error
  }
}
