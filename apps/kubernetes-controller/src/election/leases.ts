/** The Lease that processes share, in a namespace of a cluster: {@link clusterLeases}. */
import { type ApiCall, pathOf } from '@muster/plugin-kubernetes/api/calls'
import type { ClusterClient } from '@muster/plugin-kubernetes/api/client'
import { isStatus } from '@muster/plugin-kubernetes/api/failure'

/** https://kubernetes.io/docs/concepts/architecture/leases/ */
export interface LeaseObject {
  metadata: { name: string; namespace: string; resourceVersion?: string }
  spec: {
    holderIdentity?: string
    leaseDurationSeconds?: number
    acquireTime?: string
    renewTime?: string
    leaseTransitions?: number
  }
}

/** Each change names the version that it was made of: of two who change the same one, the second is refused (409). */
export interface Leases {
  /** Undefined when there is none. */
  read(signal: AbortSignal): Promise<LeaseObject | undefined>
  /** Makes it, or takes it over. */
  take(before: LeaseObject | undefined, by: { identity: string; seconds: number }, signal: AbortSignal): Promise<LeaseObject>
  renew(lease: LeaseObject, signal: AbortSignal): Promise<LeaseObject>
  /** Nobody has it then. */
  release(lease: LeaseObject, signal: AbortSignal): Promise<LeaseObject>
}

const lease = { group: 'coordination.k8s.io', version: 'v1', resource: 'leases', namespaced: true } as const
const calls = {
  read: { ...lease, verb: 'get' },
  make: { ...lease, verb: 'create' },
  change: { ...lease, verb: 'patch' },
} as const

export const leaseCalls: readonly ApiCall[] = Object.values(calls)

/** An answer that takes longer is no use to a term of fifteen seconds. */
const TIMEOUT_MS = 5_000

export function clusterLeases({ transport, requests }: ClusterClient, place: { namespace: string; name: string }): Leases {
  const change = (before: LeaseObject, spec: LeaseObject['spec'], signal: AbortSignal): Promise<LeaseObject> =>
    transport.json<LeaseObject>({
      method: 'PATCH',
      path: pathOf(calls.change, place),
      contentType: 'application/merge-patch+json',
      body: { metadata: { resourceVersion: before.metadata.resourceVersion }, spec },
      timeoutMs: TIMEOUT_MS,
      signal,
    })
  return {
    async read(signal) {
      try {
        return await requests.get<LeaseObject>(calls.read, place, { signal, timeoutMs: TIMEOUT_MS })
      } catch (error) {
        if (isStatus(error, 404)) return undefined
        throw error
      }
    },
    take(before, { identity, seconds }, signal) {
      const spec = {
        holderIdentity: identity,
        leaseDurationSeconds: Math.ceil(seconds),
        acquireTime: now(),
        renewTime: now(),
        leaseTransitions: before === undefined ? 0 : (before.spec.leaseTransitions ?? 0) + 1,
      }
      if (before !== undefined) return change(before, spec, signal)
      const made = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: place, spec }
      return requests.create<LeaseObject>(calls.make, made, { signal, timeoutMs: TIMEOUT_MS })
    },
    renew: (mine, signal) => change(mine, { renewTime: now() }, signal),
    release: (mine, signal) => change(mine, { holderIdentity: '', renewTime: now() }, signal),
  }
}

/** As the API takes it: with six digits of a second. */
function now(): string {
  return new Date().toISOString().replace('Z', '000Z')
}

/** Objects have no capitals and underscores in their names; labels may. */
export function leaseName(host: string): string {
  return `muster-kubernetes-${host.toLowerCase().replaceAll('_', '-')}`
}
