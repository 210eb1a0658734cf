/** What of a cluster the provider asks: a few requests about the Pods of one namespace, and nothing else. */
import { type ApiCall, calls, type Right, rightsOf } from './api/calls.ts'
import type { ClusterClient } from './api/client.ts'
import { isStatus } from './api/failure.ts'
import type { MissingRight } from './api/requests.ts'
import { holdMarksOf } from './labels.ts'
import type {
  Beside,
  ClusterEvent,
  Kept,
  NamespaceObject,
  NodeObject,
  Pod,
  PodList,
  PodManifest,
  ResourceQuota,
  SecretManifest,
} from './objects.ts'

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
  /** The API server's clock: what it dates is not compared with another one's. */
  now(): number
  /** The version of the API server, as `v1.34.1`. */
  version(signal: AbortSignal): Promise<string>
  /** What we would need here, and may not. */
  missing(needed: readonly Right[], signal: AbortSignal): Promise<MissingRight[]>
  /** `dryRun`: all checks, and nothing is made. */
  createPod(pod: PodManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Pod>
  /** Undefined when there is none. */
  readPod(name: string, signal: AbortSignal): Promise<Pod | undefined>
  listPods(query: PodQuery, signal: AbortSignal): Promise<PodList>
  /** Asks for its end; gives it as it is then, or undefined when there is none with this uid. */
  deletePod(name: string, how: { uid: string; graceSeconds: number; signal: AbortSignal }): Promise<Pod | undefined>
  /** Says of it whether somebody holds it; one that is not there, or not with this uid, is no failure. */
  markPod(name: string, how: { uid: string; leased: boolean; signal: AbortSignal }): Promise<void>
  /** Makes an object beside the Pods; one of its name that is there already is answered 409. */
  create<T extends Beside>(object: T, signal: AbortSignal): Promise<T>
  /** Makes it, or sets these of its fields; those that somebody else has set are answered 409. */
  apply(object: Partial<Beside> & Pick<Beside, 'kind' | 'metadata'>, signal: AbortSignal): Promise<void>
  /** Undefined when there is none. */
  read<T extends Beside>(kind: T['kind'], name: string, signal: AbortSignal): Promise<T | undefined>
  list(kind: BesideKind, selector: string, signal: AbortSignal): Promise<Beside[]>
  /** Only the object with this uid; one that is not there any more is no failure. */
  remove(kind: BesideKind, one: { name: string; uid: string | undefined }, signal: AbortSignal): Promise<void>
  /** Warnings about Pods; of very many some. */
  listEvents(signal: AbortSignal): Promise<ClusterEvent[]>
  listQuotas(signal: AbortSignal): Promise<ResourceQuota[]>
  /** Of the namespace itself; undefined when it is not there. */
  readNamespace(signal: AbortSignal): Promise<NamespaceObject | undefined>
  /** Only the one with this uid, with all that is in it. */
  removeNamespace(uid: string, signal: AbortSignal): Promise<void>
  /** Makes what bounds the namespace, or the namespace, or sets these of its fields; those that somebody else has set are answered 409. */
  keep(object: Kept, signal: AbortSignal): Promise<void>
  /** All nodes, and all Pods on them; undefined where we may not see them. */
  listNodes(signal: AbortSignal): Promise<{ nodes: NodeObject[]; pods: Pod[] } | undefined>
  /** One of this name that is there already stays. */
  putSecret(secret: SecretManifest, signal: AbortSignal): Promise<void>
}

/**
 * A server gives a create up after that, whoever asked still listens or not: then nothing comes of it any more, and the manifest's
 * `visibility.launchMs` says so. A webhook that hangs is given up after 10 s too, unless it says otherwise.
 */
export const CREATE_SECONDS = 10
/** For its answer to come. */
const CREATE_SLACK_MS = 5_000

/** Events of an hour may be thousands, and no server has an index of them: more are not read at once. */
const EVENT_PAGE = 500
const EVENT_PAGES = 2

/** Every call that the provider makes and cannot do without: its Role is generated from them. Nodes are the cluster's, and seen where that is granted. */
const made: readonly ApiCall[] = [
  ...[calls.createPod, calls.getPod, calls.listPods, calls.watchPods, calls.mergePod, calls.deletePod, calls.listEvents],
  ...[calls.readLog, calls.exec, calls.forward, calls.createSecret, calls.listQuotas],
  ...[calls.getPolicy, calls.listPolicies, calls.createPolicy, calls.applyPolicy, calls.deletePolicy],
  ...[calls.getBudget, calls.listBudgets, calls.createBudget, calls.applyBudget, calls.deleteBudget],
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
  PodDisruptionBudget: {
    get: calls.getBudget,
    list: calls.listBudgets,
    create: calls.createBudget,
    apply: calls.applyBudget,
    remove: calls.deleteBudget,
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

/** Of a namespace that is looked at too: this right is one of the namespace itself, which a Role in it may grant. */
export const checkingRights: readonly Right[] = [...rights, { verb: 'get', group: '', resource: 'namespaces', namespaced: true }]

/** Of whoever makes namespaces: what is needed in them has to be granted in all of them. */
export const makingRights: readonly Right[] = rightsOf([
  ...made,
  ...[calls.getNamespace, calls.createNamespace, calls.applyNamespace],
  ...[calls.createQuota, calls.applyQuota, calls.createLimits, calls.applyLimits],
])

/** Of whoever takes them away again, too. */
export const removingRights: readonly Right[] = [...makingRights, ...rightsOf([calls.deleteNamespace])]

const keeps = {
  Namespace: calls.applyNamespace,
  ResourceQuota: calls.applyQuota,
  LimitRange: calls.applyLimits,
  NetworkPolicy: calls.applyPolicy,
} as const satisfies Record<Kept['kind'], ApiCall>

export function createCluster(client: ClusterClient, namespace: string): Cluster {
  const { requests, transport } = client
  const place = (name?: string): { namespace: string; name?: string } => ({ namespace, ...(name === undefined ? {} : { name }) })

  return {
    namespace,
    client,
    now: () => transport.now(),

    async version(signal) {
      const { gitVersion } = await transport.json<{ gitVersion: string }>({ method: 'GET', path: '/version', signal })
      return gitVersion
    },

    missing: (needed, signal) => requests.missing(needed, namespace, signal),

    createPod: (pod, { dryRun = false, signal }) =>
      requests.create<Pod>(calls.createPod, pod, {
        signal,
        timeoutMs: CREATE_SECONDS * 1000 + CREATE_SLACK_MS,
        query: {
          ...{ fieldManager: 'muster', fieldValidation: 'Strict', timeout: `${CREATE_SECONDS}s` },
          dryRun: dryRun ? 'All' : undefined,
        },
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

    async markPod(name, { uid, leased, signal }) {
      try {
        const metadata = { name, namespace, uid, ...holdMarksOf(leased) }
        await orAbsent(requests.merge(calls.mergePod, { metadata }, { signal, query: { fieldManager: 'muster' } }))
      } catch (error) {
        // Another one has the name.
        if (!isStatus(error, 409) && !isStatus(error, 422)) throw error
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
      const events: ClusterEvent[] = []
      let rest: string | undefined
      for (let page = 1; page <= EVENT_PAGES; page++) {
        const query = { fieldSelector: 'involvedObject.kind=Pod,type=Warning', limit: EVENT_PAGE, continue: rest }
        const { items, metadata } = await requests.page<ClusterEvent>(calls.listEvents, place(), { signal, query })
        events.push(...items)
        rest = metadata.continue
        if (rest === undefined || rest === '') break
      }
      return events
    },

    async listQuotas(signal) {
      return (await requests.all<ResourceQuota>(calls.listQuotas, place(), { signal })).items
    },

    readNamespace: (signal) => orAbsent(requests.get<NamespaceObject>(calls.getNamespace, { name: namespace }, { signal })),

    async removeNamespace(uid, signal) {
      await orAbsent(requests.delete(calls.deleteNamespace, { name: namespace }, { uid, signal }))
    },

    async keep(object, signal) {
      await requests.apply(keeps[object.kind], object, { signal })
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
