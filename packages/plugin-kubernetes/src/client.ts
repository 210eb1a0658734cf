/** What of a cluster the provider asks: a few requests about the Pods of one namespace, and nothing else. */
import { type ApiCall, calls, type Right, rightsOf } from './api/calls.ts'
import type { ClusterClient } from './api/client.ts'
import { isStatus } from './api/failure.ts'
import type { MissingRight } from './api/requests.ts'
import type { Beside, ClusterEvent, Pod, PodList, PodManifest } from './objects.ts'

export interface PodQuery {
  selector: string
  limit?: number
  /** Goes on after the page before. */
  rest?: string | undefined
}

export type BesideKind = Beside['kind']

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
  /** Makes an object beside the Pods; one of its name that is there already is answered 409. */
  create<T extends Beside>(object: T, signal: AbortSignal): Promise<T>
  /** Makes it, or sets these of its fields; those that somebody else has set are answered 409. */
  apply(object: Partial<Beside> & Pick<Beside, 'kind' | 'metadata'>, signal: AbortSignal): Promise<void>
  /** Undefined when there is none. */
  read<T extends Beside>(kind: T['kind'], name: string, signal: AbortSignal): Promise<T | undefined>
  list(kind: BesideKind, selector: string, signal: AbortSignal): Promise<Beside[]>
  /** Only the object with this uid; one that is not there any more is no failure. */
  remove(kind: BesideKind, one: { name: string; uid: string | undefined }, signal: AbortSignal): Promise<void>
  /** Warnings about Pods. */
  listEvents(signal: AbortSignal): Promise<ClusterEvent[]>
}

/** Every call that the provider makes: its Role is generated from them. */
const made: readonly ApiCall[] = [
  ...[calls.createPod, calls.getPod, calls.listPods, calls.watchPods, calls.deletePod, calls.listEvents],
  ...[calls.readLog, calls.exec],
  ...[calls.getPolicy, calls.listPolicies, calls.createPolicy, calls.applyPolicy, calls.deletePolicy],
  ...[calls.getService, calls.listServices, calls.createService, calls.applyService, calls.deleteService],
]

const beside = {
  NetworkPolicy: {
    get: calls.getPolicy,
    list: calls.listPolicies,
    create: calls.createPolicy,
    apply: calls.applyPolicy,
    remove: calls.deletePolicy,
  },
  Service: {
    get: calls.getService,
    list: calls.listServices,
    create: calls.createService,
    apply: calls.applyService,
    remove: calls.deleteService,
  },
} as const satisfies Record<BesideKind, Record<string, ApiCall>>

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

    create: <T extends Beside>(object: T, signal: AbortSignal) =>
      requests.create<T>(beside[object.kind].create, object, { signal, query: { fieldManager: 'muster' } }),

    async apply(object, signal) {
      await requests.apply(beside[object.kind].apply, object, { signal })
    },

    read: <T extends Beside>(kind: T['kind'], name: string, signal: AbortSignal) =>
      orAbsent(requests.get<T>(beside[kind].get, place(name), { signal })),

    list: async (kind, selector, signal) =>
      (await requests.all<Beside>(beside[kind].list, place(), { signal, query: { labelSelector: selector } })).items,

    async remove(kind, { name, uid }, signal) {
      try {
        await orAbsent(requests.delete(beside[kind].remove, place(name), { signal, ...(uid === undefined ? {} : { uid }) }))
      } catch (error) {
        // Another one has the name by now.
        if (!isStatus(error, 409)) throw error
      }
    },

    async listEvents(signal) {
      const query = { fieldSelector: 'involvedObject.kind=Pod,type=Warning' }
      return (await requests.all<ClusterEvent>(calls.listEvents, place(), { signal, query })).items
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
