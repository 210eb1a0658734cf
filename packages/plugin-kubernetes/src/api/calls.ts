/** Every call that this plugin makes of a cluster, as data: its least rights are generated from it. */

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'delete' | 'patch'

/** One kind of request. */
export interface ApiCall {
  readonly verb: Verb
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  readonly resource: string
  readonly subresource?: string
  readonly namespaced: boolean
  /** Verbs that other versions of the API server want for the same request. */
  readonly also?: readonly Verb[]
}

const pods = { group: '', version: 'v1', resource: 'pods', namespaced: true } as const
const policies = { group: 'networking.k8s.io', version: 'v1', resource: 'networkpolicies', namespaced: true } as const
const budgets = { group: 'policy', version: 'v1', resource: 'poddisruptionbudgets', namespaced: true } as const
const services = { group: '', version: 'v1', resource: 'services', namespaced: true } as const
const quotas = { group: '', version: 'v1', resource: 'resourcequotas', namespaced: true } as const
const limits = { group: '', version: 'v1', resource: 'limitranges', namespaced: true } as const
const namespaces = { group: '', version: 'v1', resource: 'namespaces', namespaced: false } as const
/** A WebSocket begins with GET, which is the verb `get`; servers from 1.35 on want `create` too, as for every way to run something. */
const stream = { ...pods, verb: 'get', also: ['create'] } as const

type CallName =
  | ('getPod' | 'listPods' | 'watchPods' | 'createPod' | 'applyPod' | 'mergePod' | 'deletePod')
  | ('getPolicy' | 'listPolicies' | 'createPolicy' | 'applyPolicy' | 'deletePolicy')
  | ('getBudget' | 'listBudgets' | 'createBudget' | 'applyBudget' | 'deleteBudget')
  | ('getService' | 'listServices' | 'createService' | 'applyService' | 'deleteService')
  | ('getNamespace' | 'createNamespace' | 'applyNamespace' | 'deleteNamespace')
  | ('createQuota' | 'applyQuota' | 'createLimits' | 'applyLimits')
  | ('readLog' | 'exec' | 'attach' | 'forward' | 'listEvents' | 'reviewAccess' | 'createSecret' | 'listQuotas' | 'listNodes')

export const calls: Readonly<Record<CallName, ApiCall>> = {
  getPod: { ...pods, verb: 'get' },
  listPods: { ...pods, verb: 'list' },
  watchPods: { ...pods, verb: 'watch' },
  createPod: { ...pods, verb: 'create' },
  applyPod: { ...pods, verb: 'patch' },
  mergePod: { ...pods, verb: 'patch' },
  deletePod: { ...pods, verb: 'delete' },
  getPolicy: { ...policies, verb: 'get' },
  listPolicies: { ...policies, verb: 'list' },
  createPolicy: { ...policies, verb: 'create' },
  applyPolicy: { ...policies, verb: 'patch' },
  deletePolicy: { ...policies, verb: 'delete' },
  getBudget: { ...budgets, verb: 'get' },
  listBudgets: { ...budgets, verb: 'list' },
  createBudget: { ...budgets, verb: 'create' },
  applyBudget: { ...budgets, verb: 'patch' },
  deleteBudget: { ...budgets, verb: 'delete' },
  getService: { ...services, verb: 'get' },
  listServices: { ...services, verb: 'list' },
  // An apply of what is not there yet is a creation too.
  createService: { ...services, verb: 'create' },
  applyService: { ...services, verb: 'patch' },
  deleteService: { ...services, verb: 'delete' },
  readLog: { ...pods, verb: 'get', subresource: 'log' },
  exec: { ...stream, subresource: 'exec' },
  attach: { ...stream, subresource: 'attach' },
  forward: { ...stream, subresource: 'portforward' },
  listEvents: { group: '', version: 'v1', resource: 'events', namespaced: true, verb: 'list' },
  createSecret: { group: '', version: 'v1', resource: 'secrets', namespaced: true, verb: 'create' },
  listQuotas: { ...quotas, verb: 'list' },
  createQuota: { ...quotas, verb: 'create' },
  applyQuota: { ...quotas, verb: 'patch' },
  createLimits: { ...limits, verb: 'create' },
  applyLimits: { ...limits, verb: 'patch' },
  getNamespace: { ...namespaces, verb: 'get' },
  createNamespace: { ...namespaces, verb: 'create' },
  applyNamespace: { ...namespaces, verb: 'patch' },
  deleteNamespace: { ...namespaces, verb: 'delete' },
  listNodes: { group: '', version: 'v1', resource: 'nodes', namespaced: false, verb: 'list' },
  reviewAccess: {
    verb: 'create',
    group: 'authorization.k8s.io',
    version: 'v1',
    resource: 'selfsubjectaccessreviews',
    namespaced: false,
  },
}

/** One right, as a Role grants it. */
export interface Right {
  readonly verb: Verb
  readonly group: string
  /** With its subresource, as `pods/log`. */
  readonly resource: string
  readonly namespaced: boolean
}

/** The rights that calls need, each once, in a fixed order. Who may do nothing may still ask what he may. */
export function rightsOf(made: readonly ApiCall[] = Object.values(calls)): Right[] {
  const rights = new Map<string, Right>()
  for (const { verb, also = [], group, resource, subresource, namespaced } of made) {
    if (group === 'authorization.k8s.io') continue
    const whole = subresource === undefined ? resource : `${resource}/${subresource}`
    for (const one of [verb, ...also]) rights.set(`${group} ${whole} ${one}`, { verb: one, group, resource: whole, namespaced })
  }
  return [...rights.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, right]) => right)
}

/** What a call is made of. */
export interface Place {
  readonly namespace?: string
  readonly name?: string
}

const methods = { get: 'GET', list: 'GET', watch: 'GET', create: 'POST', delete: 'DELETE', patch: 'PATCH' } as const

export type Method = (typeof methods)[Verb]

export function methodOf({ verb }: ApiCall): Method {
  return methods[verb]
}

/** The path of a call, https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris; names are escaped. */
export function pathOf(call: ApiCall, { namespace, name }: Place): string {
  if (call.namespaced && namespace === undefined && call.verb !== 'list' && call.verb !== 'watch')
    throw new Error(`${call.verb} of ${call.resource} needs a namespace`)
  const parts = call.group === '' ? ['api', call.version] : ['apis', call.group, call.version]
  if (call.namespaced && namespace !== undefined) parts.push('namespaces', namespace)
  parts.push(call.resource)
  if (name !== undefined) parts.push(name)
  if (call.subresource !== undefined) parts.push(call.subresource)
  return `/${parts.map((part) => encodeURIComponent(part)).join('/')}`
}
