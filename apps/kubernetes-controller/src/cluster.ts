/** What of a cluster the controller asks: our kinds in one namespace, and nothing else. */
import { type ApiCall, pathOf, type Right, rightsOf } from '@muster/plugin-kubernetes/api/calls'
import type { ClusterClient } from '@muster/plugin-kubernetes/api/client'
import { isStatus } from '@muster/plugin-kubernetes/api/failure'
import { createReflector, type Reflector } from '@muster/plugin-kubernetes/api/reflector'
import { type Role, roleOf } from '@muster/plugin-kubernetes/rbac'
import type { Term } from './election/election.ts'
import { leaseCalls } from './election/leases.ts'
import { API_VERSION, FINALIZER, GROUP, VERSION } from './group.ts'
import type { ObjectMeta, WorkerClassObject, WorkerObject, WorkerPoolObject } from './objects.ts'

type Plural = 'workerpools' | 'workerclasses' | 'workers'

export interface AnyObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  spec?: unknown
  status?: unknown
}

/** One kind of objects, each named with its uid: another one of the same name is left alone. */
export interface Objects<T extends AnyObject> {
  /** Follows all of them, or those with a label; `changed` is told of each change. Settles when all are known. */
  follow(how: { labelSelector?: string; changed: () => void; onFailure: (error: Error) => void }): Promise<Reflector<T>>
  /** Makes it, or what differs of it. Errors: ApiFailure; 409 when the one that is there has another uid. */
  apply(object: AnyObject): Promise<T>
  /** By force: nobody else has anything to say in it. */
  applyStatus(object: T, status: T['status']): Promise<void>
  /** Puts our finalizer on it. */
  hold(object: T): Promise<T>
  /** Takes it off; nothing, where the object has changed meanwhile: that change is heard of. */
  letGo(object: T): Promise<void>
  /** Asks for its end. */
  delete(object: T): Promise<void>
}

export interface OurCluster {
  readonly namespace: string
  readonly pools: Objects<WorkerPoolObject>
  readonly classes: Objects<WorkerClassObject>
  readonly workers: Objects<WorkerObject>
}

/** The name under which what we apply is ours. */
const FIELD_MANAGER = 'muster'

function callsOf(resource: Plural): Record<'list' | 'watch' | 'patch' | 'status' | 'delete', ApiCall> {
  const of = { group: GROUP, version: VERSION, resource, namespaced: true } as const
  return {
    list: { ...of, verb: 'list' },
    watch: { ...of, verb: 'watch' },
    // A patch that makes an object needs `create` too.
    patch: { ...of, verb: 'patch', also: ['create'] },
    status: { ...of, verb: 'patch', subresource: 'status' },
    delete: { ...of, verb: 'delete' },
  }
}

/** Of a view, and of a controller. Its name is not that of the plugin's Role, which may be in the same namespace. */
export function roleFor(mode: 'view' | 'controller', namespace: string): Role {
  return roleOf(namespace, rightsFor(mode), 'muster-objects')
}

function rightsFor(mode: 'view' | 'controller'): Right[] {
  const given = (plural: Plural): ApiCall[] => {
    const { patch, ...same } = callsOf(plural)
    if (plural === 'workers') return [patch, ...Object.values(same)]
    const { also: _also, ...change } = patch
    return [change, same.list, same.watch, same.status]
  }
  const kinds: Plural[] = mode === 'view' ? ['workers'] : ['workers', 'workerpools', 'workerclasses']
  return rightsOf([...kinds.flatMap(given), ...leaseCalls])
}

export function ourCluster(client: ClusterClient, namespace: string, { signal, check }: Term): OurCluster {
  return {
    namespace,
    pools: objectsOf<WorkerPoolObject>('workerpools'),
    classes: objectsOf<WorkerClassObject>('workerclasses'),
    workers: objectsOf<WorkerObject>('workers'),
  }

  function objectsOf<T extends AnyObject>(plural: Plural): Objects<T> {
    const calls = callsOf(plural)
    const patch = async (call: ApiCall, object: AnyObject, force: boolean): Promise<T> => {
      check()
      return client.transport.json<T>({
        method: 'PATCH',
        path: pathOf(call, { namespace, name: object.metadata.name }),
        query: { fieldManager: FIELD_MANAGER, force },
        contentType: 'application/apply-patch+yaml',
        body: object,
        signal,
      })
    }
    const bare = ({ kind, metadata: { name, uid } }: T): AnyObject => ({
      apiVersion: API_VERSION,
      kind,
      metadata: { name, namespace, ...(uid === undefined ? {} : { uid }) },
    })

    return {
      async follow({ labelSelector, changed, onFailure }) {
        // Of a signal that has aborted nobody hears any more, and nothing would end it.
        signal.throwIfAborted()
        const what = { list: calls.list, call: calls.watch, place: { namespace }, labelSelector }
        const reflector = createReflector<T>(client.requests, what, { onFailure })
        signal.addEventListener('abort', () => void reflector.stop(), { once: true })
        await reflector.synced(signal)
        void tell(reflector, changed).catch(() => {})
        return reflector
      },
      apply: (object) => patch(calls.patch, object, false),
      applyStatus: (object, status) => orGone(patch(calls.status, { ...bare(object), status }, true)),
      hold: (object) => {
        const { metadata, ...same } = bare(object)
        return patch(calls.patch, { ...same, metadata: { ...metadata, finalizers: [FINALIZER] } }, false)
      },
      letGo: ({ metadata: { name, uid, resourceVersion, finalizers = [] } }) =>
        orGone(
          client.transport.json({
            method: 'PATCH',
            path: pathOf(calls.patch, { namespace, name }),
            query: { fieldManager: FIELD_MANAGER },
            contentType: 'application/merge-patch+json',
            body: { metadata: { uid, resourceVersion, finalizers: finalizers.filter((one) => one !== FINALIZER) } },
            signal,
          }),
        ),
      delete: ({ metadata: { name, uid } }) =>
        orGone(client.requests.delete(calls.delete, { namespace, name }, { signal, ...(uid === undefined ? {} : { uid }) })),
    }
  }

  async function tell<T extends AnyObject>(reflector: Reflector<T>, changed: () => void): Promise<void> {
    for await (const _ of reflector.changes(signal)) changed()
  }
}

/** That it, or the one that was meant, is there no more is what was wanted. */
async function orGone(asked: Promise<unknown>): Promise<void> {
  try {
    await asked
  } catch (error) {
    if (!isStatus(error, 404) && !isStatus(error, 409)) throw error
  }
}
