/** What of a cluster the provider asks: a few requests about the Pods of one namespace, and nothing else. */
import { type ApiCall, calls, type Right, rightsOf } from './api/calls.ts'
import type { ClusterClient } from './api/client.ts'
import { type ApiFailure, isStatus } from './api/failure.ts'
import type { DeleteOptions, How, MissingRight } from './api/requests.ts'
import { jobWorkers } from './workers/job-workers.ts'
import { holdMarksOf } from './labels.ts'
import type { BesideKind, Objects } from './cluster-objects.ts'
import type { Beside, ClusterEvent, Job, Kept, NamespaceObject, NodeObject, Pod, ResourceQuota } from './objects.ts'
import { podWorkersBesideJobs } from './workers/left-jobs.ts'
import type { WorkerKind, Workers } from './workers.ts'

/** One namespace of a cluster. */
export interface Cluster extends Objects {
  /** Those that a provider makes there. */
  readonly workers: Workers
  /** What such workers need there beyond {@link rights}. */
  readonly more: readonly Right[]
  /** What we would need here, and may not. */
  missing(needed: readonly Right[], signal: AbortSignal): Promise<MissingRight[]>
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

const jobCalls: readonly ApiCall[] = [calls.getJob, calls.listJobs, calls.watchJobs, calls.createJob, calls.deleteJob]
/** Where workers are Jobs. */
export const jobRights: readonly Right[] = rightsOf([...made, ...jobCalls])

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

export function createCluster(client: ClusterClient, namespace: string, kind: WorkerKind = 'pod'): Cluster {
  const objects = objectsOf(client, namespace)
  return {
    ...objects,
    workers: kind === 'job' ? jobWorkers(objects) : podWorkersBesideJobs(objects),
    more: kind === 'job' ? rightsOf(jobCalls) : [],
    missing: (needed, signal) => client.requests.missing(needed, namespace, signal),
  }
}

function objectsOf(client: ClusterClient, namespace: string): Objects {
  const { requests, transport } = client
  const place = (name?: string): { namespace: string; name?: string } => ({ namespace, ...(name === undefined ? {} : { name }) })

  async function end<T extends Pod | Job>(
    { remove, get }: Record<'remove' | 'get', ApiCall>,
    name: string,
    how: DeleteOptions,
  ): Promise<T | undefined> {
    try {
      return await orAbsent(requests.delete<T>(remove, place(name), how))
    } catch (error) {
      if (!isStatus(error, 409)) throw error
      // Another one has the name, unless somebody refuses the end of this very one.
      const now = await orAbsent(requests.get<T>(get, place(name), { signal: how.signal }))
      if (now?.metadata.uid === how.uid) throw error
      return undefined
    }
  }

  return {
    namespace,
    client,
    now: () => transport.now(),

    async version(signal) {
      const { gitVersion } = await transport.json<{ gitVersion: string }>({ method: 'GET', path: '/version', signal })
      return gitVersion
    },

    createPod: (pod, { dryRun = false, signal }) => requests.create<Pod>(calls.createPod, pod, creation(dryRun, signal)),

    readPod: (name, signal) => orAbsent(requests.get<Pod>(calls.getPod, place(name), { signal })),

    listPods: ({ selector, limit, rest }, signal) =>
      requests.page<Pod>(calls.listPods, place(), { signal, query: { labelSelector: selector, limit, continue: rest } }),

    deletePod: (name, how) => end<Pod>({ remove: calls.deletePod, get: calls.getPod }, name, how),

    createJob: (job, { dryRun = false, signal }) => requests.create<Job>(calls.createJob, job, creation(dryRun, signal)),

    readJob: (name, signal) => orAbsent(requests.get<Job>(calls.getJob, place(name), { signal })),

    listJobs: ({ selector, limit, rest }, signal) =>
      requests.page<Job>(calls.listJobs, place(), { signal, query: { labelSelector: selector, limit, continue: rest } }),

    deleteJob: (name, how) =>
      end<Job>({ remove: calls.deleteJob, get: calls.getJob }, name, { ...how, propagation: 'Foreground' }),

    async markPod(name, { uid, leased, signal }) {
      try {
        const metadata = { name, namespace, uid, ...holdMarksOf(leased) }
        await orAbsent(requests.merge(calls.mergePod, { metadata }, { signal, query: { fieldManager: 'muster' } }))
      } catch (error) {
        if (!isOfAnother(error)) throw error
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

    async listEvents(kind, signal) {
      const events: ClusterEvent[] = []
      let rest: string | undefined
      for (let page = 1; page <= EVENT_PAGES; page++) {
        const which = kind === 'Pod' ? '' : ',reason=FailedCreate'
        const fieldSelector = `involvedObject.kind=${kind},type=Warning${which}`
        const query = { fieldSelector, limit: EVENT_PAGE, continue: rest }
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

/** Another object has the name: a uid is not changed, which is a field's fault to one server and a conflict to another. */
function isOfAnother(error: unknown): boolean {
  if (isStatus(error, 422)) return (error as ApiFailure).causes.some(({ field }) => field === 'metadata.uid')
  return isStatus(error, 409) && /\buid\b/i.test((error as ApiFailure).message)
}

function creation(dryRun: boolean, signal: AbortSignal): How {
  return {
    signal,
    timeoutMs: CREATE_SECONDS * 1000 + CREATE_SLACK_MS,
    query: {
      ...{ fieldManager: 'muster', fieldValidation: 'Strict', timeout: `${CREATE_SECONDS}s` },
      dryRun: dryRun ? 'All' : undefined,
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
