/** Every kind of request that the plugin makes: what the cluster is asked for, and so the rights that it needs. */

/** A right as RBAC has it. */
export interface Right {
  readonly apiGroup: string
  /** `pods`, or `pods/log` for a part of one. */
  readonly resource: string
  readonly verb: string
  /** What is not possible without it. */
  readonly for: string
}

const pod = (verb: string, purpose: string): Right => ({ apiGroup: '', resource: 'pods', verb, for: purpose })

export type CallName = 'createPod' | 'readPod' | 'listPods' | 'deletePod' | 'listEvents'

/** By the name that the client has for the request. */
export const calls: Readonly<Record<CallName, Right>> = {
  createPod: pod('create', 'launch'),
  readPod: pod('get', 'launch and terminate'),
  listPods: pod('list', 'list and inspect'),
  deletePod: pod('delete', 'terminate'),
  listEvents: { apiGroup: '', resource: 'events', verb: 'list', for: 'why a worker does not start' },
}
