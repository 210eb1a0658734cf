/** Requests to one cluster, by the calls of `calls.ts`: what a provider asks, without HTTP. */
import type { IncomingMessage } from 'node:http'
import type { V1SelfSubjectAccessReview } from '@kubernetes/client-node/dist/gen/models/V1SelfSubjectAccessReview.js'
import { type ApiCall, calls, methodOf, type Place, pathOf, type Right } from './calls.ts'
import { ApiFailure, isExpired, isTooLarge } from './failure.ts'
import type { ApiRequest, QueryValue, Transport } from './transport.ts'

/** What every object of a cluster has. */
export interface ApiObject {
  metadata?: {
    name?: string | undefined
    namespace?: string | undefined
    uid?: string | undefined
    resourceVersion?: string | undefined
  }
}

export interface ApiList<T> {
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number }
  items: T[]
}

/** Beside what is asked: with whose end, and until when. */
export interface How {
  signal: AbortSignal
  timeoutMs?: number
  query?: Readonly<Record<string, QueryValue>>
}

export interface HowAll<T> extends How {
  /** What is kept of each object; the rest goes with its page. */
  pick?: ((object: T) => T) | undefined
}

export interface DeleteOptions extends How {
  /** Only the object with this uid; another one of the same name is answered 409. */
  uid?: string
  graceSeconds?: number
  propagation?: 'Background' | 'Foreground' | 'Orphan'
}

/** Which rights a Role would have to grant still. */
export interface MissingRight extends Right {
  namespace: string | undefined
  /** The cluster's own words, where it has some. */
  reason: string | undefined
}

export interface Requests {
  /** The answer's body as it comes; the caller ends it. */
  open(call: ApiCall, place: Place, how: How): Promise<IncomingMessage>
  get<T>(call: ApiCall, place: Place, how: How): Promise<T>
  /**
   * One page, of `query.limit` objects, or of fewer where they are large. `query.continue` asks for the next one; one that was forgotten
   * meanwhile is answered 410.
   */
  page<T>(call: ApiCall, place: Place, how: How): Promise<ApiList<T>>
  /** All pages, as they were at one instant; begins again when a page was forgotten. */
  all<T>(call: ApiCall, place: Place, how: HowAll<T>): Promise<ApiList<T>>
  create<T>(call: ApiCall, object: T & ApiObject, how: How): Promise<T>
  /** Server-side apply, never by force: fields that somebody else has set are answered 409. */
  apply<T>(call: ApiCall, object: T & ApiObject, how: How): Promise<T>
  /** Sets what is named, whoever has set it before; null takes away. */
  merge<T>(call: ApiCall, object: ApiObject, how: How): Promise<T>
  /** The object as it is then, or the Status of one that is gone at once. */
  delete<T>(call: ApiCall, place: Place, options: DeleteOptions): Promise<T>
  /** Asks the cluster about each right; answers those that it does not grant. */
  missing(rights: readonly Right[], namespace: string | undefined, signal: AbortSignal): Promise<MissingRight[]>
}

/** The name under which what we apply is ours. */
const FIELD_MANAGER = 'muster'
/** The page size of client-go's reflectors. */
const PAGE = 500
/** 500 pods of 10 KB are 5 MB. Read as JSON it is several times as much, which a plugin's heap must hold. */
const PAGE_BYTES = 16 * 1024 * 1024
/** Of a page that is too large: from 500 to one in four steps. */
const SHRINK = 5
/** A cluster that forgets pages within seconds has other troubles: then everything is asked for at once. */
const PAGED_TRIES = 2

export function createRequests(transport: Transport, { pageBytes = PAGE_BYTES }: { pageBytes?: number } = {}): Requests {
  /** Where objects are large they stay so: a page of more of them is not asked for again. */
  let mostOfPage = PAGE
  const requests: Requests = {
    open: (call, place, how) => transport.open(requestOf(call, place, how)),
    get: (call, place, how) => transport.json(requestOf(call, place, how)),
    async page<T>(call: ApiCall, place: Place, how: How) {
      const list = await pageOf<T>(call, place, how)
      if (!Array.isArray(list.items) || typeof list.metadata !== 'object')
        throw new ApiFailure('an answer that is no list', { code: 'BAD_ANSWER', sent: true })
      return list
    },
    async all<T>(call: ApiCall, place: Place, how: HowAll<T>) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await allPages<T>(call, place, {
            ...how,
            query: { ...how.query, limit: attempt > PAGED_TRIES ? undefined : PAGE },
          })
        } catch (error) {
          if (!isExpired(error) || attempt > PAGED_TRIES) throw error
        }
      }
    },
    create: (call, object, how) => transport.json({ ...requestOf(call, { ...spaceOf(object) }, how), body: object }),
    apply: (call, object, how) =>
      transport.json({
        ...requestOf(call, { ...spaceOf(object), name: nameOf(object) }, how),
        query: { ...how.query, fieldManager: FIELD_MANAGER, force: false },
        body: object,
        contentType: 'application/apply-patch+yaml',
      }),
    merge: (call, object, how) =>
      transport.json({
        ...requestOf(call, { ...spaceOf(object), name: nameOf(object) }, how),
        body: object,
        contentType: 'application/merge-patch+json',
      }),
    delete: (call, place, { uid, graceSeconds, propagation, ...how }) =>
      transport.json({
        ...requestOf(call, place, how),
        body: {
          ...(uid === undefined ? {} : { preconditions: { uid } }),
          ...(graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds }),
          ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
        },
      }),
    async missing(rights, namespace, signal) {
      const asked = rights.map((right) => review(right, right.namespaced ? namespace : undefined, signal))
      return (await Promise.all(asked)).filter((one) => one !== undefined)
    },
  }
  return requests

  async function pageOf<T>(call: ApiCall, place: Place, how: How): Promise<ApiList<T>> {
    const wanted = how.query?.['limit']
    if (typeof wanted !== 'number') return transport.json<ApiList<T>>(requestOf(call, place, how))
    for (;;) {
      const limit = Math.min(wanted, mostOfPage)
      try {
        const request = requestOf(call, place, { ...how, query: { ...how.query, limit } })
        return await transport.json<ApiList<T>>({ ...request, maxBytes: pageBytes })
      } catch (error) {
        if (!isTooLarge(error) || limit <= 1) throw error
        mostOfPage = Math.max(1, Math.floor(limit / SHRINK))
      }
    }
  }

  async function allPages<T>(call: ApiCall, place: Place, { pick, ...how }: HowAll<T>): Promise<ApiList<T>> {
    const items: T[] = []
    let next: string | undefined
    for (;;) {
      const page = await requests.page<T>(call, place, { ...how, query: { ...how.query, continue: next } })
      for (const item of page.items) items.push(pick === undefined ? item : pick(item))
      next = page.metadata.continue
      if (next === undefined || next === '') return { metadata: page.metadata, items }
    }
  }

  async function review(right: Right, namespace: string | undefined, signal: AbortSignal): Promise<MissingRight | undefined> {
    const [resource = '', subresource] = right.resource.split('/')
    const attributes = { verb: right.verb, group: right.group, resource, ...(subresource === undefined ? {} : { subresource }) }
    const spec = { resourceAttributes: namespace === undefined ? attributes : { ...attributes, namespace } }
    const answer = await requests.create<V1SelfSubjectAccessReview>(calls.reviewAccess, { spec }, { signal })
    if (answer.status?.allowed === true) return undefined
    return { ...right, namespace, reason: answer.status?.reason }
  }
}

function requestOf(call: ApiCall, place: Place, { signal, timeoutMs, query }: How): ApiRequest {
  return {
    method: methodOf(call),
    path: pathOf(call, place),
    signal,
    ...(query === undefined ? {} : { query }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  }
}

function spaceOf({ metadata }: ApiObject): Place {
  return metadata?.namespace === undefined ? {} : { namespace: metadata.namespace }
}

function nameOf({ metadata }: ApiObject): string {
  if (metadata?.name === undefined) throw new Error('what is applied has a name')
  return metadata.name
}
