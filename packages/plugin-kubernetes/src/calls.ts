/** Every kind of request that the plugin makes: what the cluster is asked for, and so the rights that it needs. */

/** A right as RBAC has it. */
export interface Right {
  readonly apiGroup: string
  readonly resource: string
  readonly verb: string
  /** What is not possible without it. */
  readonly for: string
}

const pods = { apiGroup: '', resource: 'pods' }

/** By the name that the client has for the request. */
export const calls = {
  createPod: { ...pods, verb: 'create', for: 'launch' },
  readPod: { ...pods, verb: 'get', for: 'launch and terminate' },
  listPods: { ...pods, verb: 'list', for: 'list and inspect' },
  deletePod: { ...pods, verb: 'delete', for: 'terminate' },
  listEvents: { apiGroup: '', resource: 'events', verb: 'list', for: 'why a worker does not start' },
} as const satisfies Record<string, Right>

export type CallName = keyof typeof calls
