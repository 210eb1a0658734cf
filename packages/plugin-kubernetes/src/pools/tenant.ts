/** A namespace of a tenant's own: what bounds and closes it, as objects, and what of that a namespace lacks. Pure. */
import type { ListQuery } from '@muster/core'
import { amountOf as bytesOf, sizePattern } from '@muster/provider-parts/sizes'
import * as z from 'zod'
import { label, labelValue } from '../labels.ts'
import { closedKinds } from '../network/network.ts'
import type { Kept, NamespaceObject, NetworkPolicy, ResourceQuota } from '../objects.ts'
import { amountOf } from '../quantity.ts'
import { levels } from '../pod/security.ts'
import { type SecurityLevel, securityLevels } from '../settings.ts'

export interface TenantConfig {
  readonly quota: QuotaConfig
  readonly security?: SecurityLevel
  readonly make?: boolean
  readonly remove?: boolean
}

export interface QuotaConfig {
  readonly pods?: number
  readonly cpu?: number
  readonly memory?: string
  readonly claims?: number
  readonly storage?: string
  readonly extended?: Record<string, number>
}

const count = z.int().min(1)

export const tenantSchema: z.ZodType<TenantConfig> = z
  .strictObject({
    quota: z
      .strictObject({
        pods: count.describe('Pods at once.').exactOptional(),
        cpu: z.number().positive().describe('vCPU that are reserved together.').exactOptional(),
        memory: sizePattern.describe('Memory that is reserved together, as `64GiB`.').exactOptional(),
        claims: count.describe('Claims of volumes at once.').exactOptional(),
        storage: sizePattern.describe('What they ask for together.').exactOptional(),
        extended: z
          .record(z.string().regex(/^[^/]+\/[^/]+$/), z.int().min(0))
          .describe('Extended resources together, as nvidia.com/gpu: 4.')
          .exactOptional(),
      })
      .refine((quota) => Object.keys(quota).length > 0, 'say at least one bound')
      .describe('The most that all of the namespace may have together.'),
    security: z
      .enum(securityLevels)
      .describe("Pod Security level that the namespace enforces, and pools of it may go up to. Default: 'restricted'.")
      .exactOptional(),
    make: z
      .boolean()
      .describe('The plugin makes the namespace with its first pool, and keeps what bounds it. Absent: it is checked only.')
      .exactOptional(),
    remove: z.boolean().describe('With make: it goes with its last pool, where nothing else is in it.').exactOptional(),
  })
  .refine(({ make, remove }) => remove !== true || make === true, { error: 'it goes with `make`', path: ['remove'] })
  .describe("The namespace is a tenant's own: a level of security, a quota, and no way in or out but for its workers.")

/** Of all that is of the tenant and of none of its pools. */
const tenantName = 'muster-tenant'
/** How many objects there are of what we may not list. */
export const countName = 'muster-tenant-count'

const levelLabel = 'pod-security.kubernetes.io/enforce'

/**
 * What is asked of the quota's own count, and what a namespace has of it by itself: who may read Secrets only to know that there are none
 * may read them all.
 */
const counted: Readonly<Record<string, number>> = {
  ...{ 'count/secrets': 0, 'count/services': 0, persistentvolumeclaims: 0, 'count/configmaps': 1 },
  ...{ 'count/deployments.apps': 0, 'count/statefulsets.apps': 0, 'count/jobs.batch': 0, 'count/cronjobs.batch': 0 },
  // The account `default`, and our own policies.
  ...{ 'count/serviceaccounts': 1, 'count/networkpolicies.networking.k8s.io': 2, 'count/ingresses.networking.k8s.io': 0 },
  ...{ 'count/roles.rbac.authorization.k8s.io': 0, 'count/rolebindings.rbac.authorization.k8s.io': 0 },
}

/** A bound that bounds nothing: more than a cluster's store takes. */
const NO_BOUND = '1000000'

/** A quota wants each container to say what it needs; one that does not has this. About what a shell that waits uses, with room. */
const USUAL = { cpu: '100m', memory: '128Mi' }

/** As a ResourceQuota names them. */
export function hardOf({ pods, cpu, memory, claims, storage, extended = {} }: QuotaConfig): Record<string, string> {
  const bounds: readonly (readonly [string, number | undefined])[] = [
    ['pods', pods],
    ['requests.cpu', cpu],
    ['requests.memory', memory === undefined ? undefined : bytesOf(memory)],
    ['persistentvolumeclaims', claims],
    ['requests.storage', storage === undefined ? undefined : bytesOf(storage)],
    ...Object.entries(extended).map(([name, most]) => [`requests.${name}`, most] as const),
  ]
  return Object.fromEntries(bounds.flatMap(([name, most]) => (most === undefined ? [] : [[name, String(most)]])))
}

/** All that is kept, in the order in which it is made. Without `tags`: as somebody else would make it. */
export function keptOf(tenant: TenantConfig, namespace: string, tags?: ListQuery['tags']): Kept[] {
  const labels = tags === undefined ? {} : { ...marksOf(tags), [label.part]: 'tenant' }
  const meta = (name = tenantName): { name: string; namespace: string; labels: Record<string, string> } => ({
    ...{ name, namespace, labels },
  })
  const hard = hardOf(tenant.quota)
  const usual = Object.fromEntries(Object.entries(USUAL).filter(([name]) => hard[`requests.${name}`] !== undefined))
  return [
    {
      ...{ apiVersion: 'v1', kind: 'Namespace' },
      metadata: { name: namespace, labels: { ...labels, [levelLabel]: tenant.security ?? 'restricted' } },
    },
    ...policiesOf(meta),
    { apiVersion: 'v1', kind: 'ResourceQuota', metadata: meta(), spec: { hard } },
    ...(Object.keys(usual).length === 0
      ? []
      : [
          {
            ...({ apiVersion: 'v1', kind: 'LimitRange' } as const),
            metadata: meta(),
            spec: { limits: [{ type: 'Container', defaultRequest: usual }] },
          },
        ]),
    ...(tenant.remove === true
      ? [
          {
            ...({ apiVersion: 'v1', kind: 'ResourceQuota' } as const),
            metadata: meta(countName),
            spec: { hard: Object.fromEntries(Object.keys(counted).map((name) => [name, NO_BOUND])) },
          },
        ]
      : []),
  ]
}

/** All Pods are shut. Workers whose way out is open have it, and are reached by each other. */
function policiesOf(meta: (name?: string) => NetworkPolicy['metadata']): NetworkPolicy[] {
  const kind = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' } as const
  const open = {
    matchLabels: { [label.part]: 'worker' },
    matchExpressions: [{ key: label.egress, operator: 'NotIn' as const, values: [...closedKinds] }],
  }
  return [
    { ...kind, metadata: meta(), spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] } },
    {
      ...kind,
      metadata: meta(`${tenantName}-open`),
      spec: {
        podSelector: open,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: {} }] }],
        egress: [{}],
      },
    },
  ]
}

/** Whose the namespace is. */
function marksOf(tags: ListQuery['tags']): Record<string, string> {
  return {
    'muster-owner': labelValue(tags['muster-owner']),
    'muster-provider': labelValue(tags['muster-provider']),
  }
}

export function isKept({ metadata: { labels = {} } }: NamespaceObject, tags: ListQuery['tags']): boolean {
  return Object.entries(marksOf(tags)).every(([name, value]) => labels[name] === value)
}

export interface Seen {
  namespace: NamespaceObject
  quotas: readonly ResourceQuota[]
  policies: readonly NetworkPolicy[]
}

/** What of a tenant's namespace is missing or too weak, each in a few words. */
export function lacksOf(tenant: TenantConfig, { namespace, quotas, policies }: Seen): string[] {
  const { security = 'restricted' } = tenant
  const level = securityLevels.find((one) => one === namespace.metadata.labels?.[levelLabel])
  const weak = level === undefined || levels[level] > levels[security]
  const closed = policies.some(
    ({ spec: { podSelector, policyTypes, ingress = [], egress = [] } }) =>
      isEverything(podSelector) && policyTypes.length === 2 && ingress.length === 0 && egress.length === 0,
  )
  const loose = Object.entries(hardOf(tenant.quota)).filter(([name, most]) => !isBounded(quotas, name, amountOf(most)))
  return [
    ...(weak ? [`it enforces ${level ?? 'no level'} of Pod Security, and is to enforce ${security}`] : []),
    ...loose.map(([name, most]) => `no ResourceQuota bounds ${name} to ${most}`),
    ...(closed ? [] : ['no NetworkPolicy shuts all of its Pods, in and out']),
  ]
}

const isEverything = ({ matchLabels = {}, matchExpressions = [] }: NetworkPolicy['spec']['podSelector']): boolean =>
  Object.keys(matchLabels).length === 0 && matchExpressions.length === 0

/** One that is for some Pods only bounds not all of them. `requests.cpu` and `cpu` are the same. */
function isBounded(quotas: readonly ResourceQuota[], name: string, most: number): boolean {
  const names = [name, name.replace(/^requests\.(?=cpu$|memory$)/, ''), ...(name === 'pods' ? ['count/pods'] : [])]
  return quotas.some(
    ({ spec }) =>
      (spec?.scopes ?? []).length === 0 &&
      spec?.scopeSelector === undefined &&
      names.some((one) => amountOf(spec?.hard?.[one] ?? '') <= most),
  )
}

/** What is in it beside Pods, by the count; undefined: not counted yet. */
export function contentsOf(quotas: readonly ResourceQuota[]): string[] | undefined {
  const { hard, used } = quotas.find(({ metadata }) => metadata.name === countName)?.status ?? {}
  if (used === undefined || Object.keys(counted).some((name) => hard?.[name] === undefined)) return undefined
  return Object.entries(counted)
    .filter(([name, usual]) => amountOf(used[name] ?? '0') > usual)
    .map(([name]) => name.replace('count/', ''))
}

/** `pods 3 of 20, requests.cpu 4 of 40`; empty where nothing is counted yet. */
export function usedOf(quotas: readonly ResourceQuota[]): string {
  return quotas
    .filter(({ metadata }) => metadata.name !== countName)
    .flatMap(({ status }) =>
      Object.entries(status?.hard ?? {}).map(([name, most]) => `${name} ${status?.used?.[name] ?? '0'} of ${most}`),
    )
    .join(', ')
}
