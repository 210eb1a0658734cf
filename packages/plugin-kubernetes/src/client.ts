/** The few requests that the plugin makes, each one a row of {@link calls}: nothing else is asked of a cluster. */
import { type CallName, calls, type Right } from './calls.ts'
import { isStatus } from './errors.ts'
import type { ClusterEvent, EventList, Pod, PodList, PodManifest } from './objects.ts'

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  path: string
  query?: Readonly<Record<string, string>>
  body?: object
  signal: AbortSignal
}

/** The way to the API server; it rejects with what {@link Refusal} has. */
export interface Api {
  json<T>(request: ApiRequest): Promise<T>
}

export interface PodQuery {
  selector: string
  limit?: number
  /** Goes on after the page before. */
  rest?: string | undefined
}

/** One namespace of a cluster. */
export interface Cluster {
  readonly namespace: string
  /** The version of the API server, as `v1.34.1`. */
  version(signal: AbortSignal): Promise<string>
  /** May we do this here? */
  may(right: Right, signal: AbortSignal): Promise<boolean>
  /** `dryRun`: all checks, and nothing is made. */
  createPod(pod: PodManifest, how: { dryRun?: boolean; signal: AbortSignal }): Promise<Pod>
  /** Undefined when there is none. */
  readPod(name: string, signal: AbortSignal): Promise<Pod | undefined>
  listPods(query: PodQuery, signal: AbortSignal): Promise<PodList>
  /** Asks for its end; gives it as it is then, or undefined when there is none with this uid. */
  deletePod(name: string, how: { uid: string; graceSeconds: number; signal: AbortSignal }): Promise<Pod | undefined>
  /** Warnings about Pods. */
  listEvents(signal: AbortSignal): Promise<ClusterEvent[]>
}

/** Makes the fields' owner visible in the cluster. */
const MANAGER = 'muster'

export function createCluster(api: Api, namespace: string): Cluster {
  const at = (call: CallName, name?: string): string =>
    `/api/v1/namespaces/${namespace}/${calls[call].resource}${name === undefined ? '' : `/${name}`}`

  return {
    namespace,

    async version(signal) {
      const { gitVersion } = await api.json<{ gitVersion: string }>({ method: 'GET', path: '/version', signal })
      return gitVersion
    },

    async may({ apiGroup: group, resource, verb }, signal) {
      const [name, subresource] = resource.split('/')
      const body = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: {
          resourceAttributes: { namespace, verb, group, resource: name, ...(subresource === undefined ? {} : { subresource }) },
        },
      }
      const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
      const { status } = await api.json<{ status: { allowed: boolean } }>({ method: 'POST', path, body, signal })
      return status.allowed
    },

    createPod: (pod, { dryRun = false, signal }) =>
      api.json<Pod>({
        method: 'POST',
        path: at('createPod'),
        query: { fieldManager: MANAGER, fieldValidation: 'Strict', ...(dryRun ? { dryRun: 'All' } : {}) },
        body: pod,
        signal,
      }),

    readPod: (name, signal) => orAbsent(api.json<Pod>({ method: 'GET', path: at('readPod', name), signal })),

    listPods: ({ selector, limit, rest }, signal) =>
      api.json<PodList>({
        method: 'GET',
        path: at('listPods'),
        query: {
          labelSelector: selector,
          ...(limit === undefined ? {} : { limit: String(limit) }),
          ...(rest === undefined ? {} : { continue: rest }),
        },
        signal,
      }),

    async deletePod(name, { uid, graceSeconds, signal }) {
      const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid }, gracePeriodSeconds: graceSeconds }
      try {
        return await orAbsent(api.json<Pod>({ method: 'DELETE', path: at('deletePod', name), body, signal }))
      } catch (error) {
        // Another one has the name.
        if (isStatus(error, 409)) return undefined
        throw error
      }
    },

    async listEvents(signal) {
      const query = { fieldSelector: 'involvedObject.kind=Pod,type=Warning' }
      return (await api.json<EventList>({ method: 'GET', path: at('listEvents'), query, signal })).items
    },
  }
}

async function orAbsent<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  }
}
