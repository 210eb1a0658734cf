import { expect, test } from 'vitest'
import type { NetworkPolicy, ResourceQuota } from '../objects.ts'
import { contentsOf, countName, hardOf, isKept, keptOf, lacksOf, type TenantConfig, tenantSchema, usedOf } from './tenant.ts'

const tags = { 'muster-owner': 'owner-', 'muster-provider': 'team' }
const tenant: TenantConfig = { quota: { pods: 3, cpu: 2.5, memory: '1GiB' } }
const level = 'pod-security.kubernetes.io/enforce'

const kindsOf = (config: TenantConfig): string[] =>
  keptOf(config, 'team', tags).map(({ kind, metadata }) => `${kind} ${metadata.name}`)
const quotaOf = (spec: ResourceQuota['spec'] & object): ResourceQuota => ({ metadata: { name: 'a' }, spec })
const shut: NetworkPolicy['spec'] = { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }

interface Given {
  labels?: Record<string, string>
  quotas?: ResourceQuota[]
  policies?: NetworkPolicy['spec'][]
}

function lacking(given: Given = {}, config = tenant): string[] {
  const { labels = { [level]: 'restricted' }, quotas = [quotaOf({ hard: hardOf(tenant.quota) })], policies = [shut] } = given
  return lacksOf(config, {
    namespace: { metadata: { name: 'team', labels } },
    quotas,
    policies: policies.map((spec) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'a' },
      spec,
    })),
  })
}

test('bounds are those of a ResourceQuota', () => {
  const all = { pods: 1, cpu: 0.5, memory: '2GiB', claims: 3, storage: '1TiB', extended: { 'nvidia.com/gpu': 0 } }
  expect(hardOf(all)).toEqual({
    ...{ pods: '1', 'requests.cpu': '0.5', 'requests.memory': '2147483648', persistentvolumeclaims: '3' },
    ...{ 'requests.storage': '1099511627776', 'requests.nvidia.com/gpu': '0' },
  })
})

test('what is kept is ours, in an order in which each is closed before it is used', () => {
  const shared = [
    'Namespace team',
    'NetworkPolicy muster-tenant',
    'NetworkPolicy muster-tenant-open',
    'ResourceQuota muster-tenant',
  ]
  expect(kindsOf({ quota: { pods: 3 } })).toEqual(shared)
  expect(kindsOf(tenant)).toEqual([...shared, 'LimitRange muster-tenant'])
  expect(kindsOf({ ...tenant, make: true, remove: true })).toEqual([
    ...[...shared, 'LimitRange muster-tenant'],
    `ResourceQuota ${countName}`,
  ])
  const [namespace] = keptOf({ ...tenant, security: 'baseline' }, 'team', tags)
  expect(namespace).toMatchObject({ metadata: { labels: { [level]: 'baseline', 'muster-owner': 'Zowner-Z' } } })
  expect(isKept({ metadata: namespace?.metadata ?? { name: '' } }, tags)).toBe(true)
  expect(isKept({ metadata: namespace?.metadata ?? { name: '' } }, { ...tags, 'muster-provider': 'other' })).toBe(false)
})

test('only what a quota bounds has a usual amount', () => {
  const limits = keptOf({ quota: { cpu: 1 } }, 'team', tags).find(({ kind }) => kind === 'LimitRange')
  expect(limits).toMatchObject({ spec: { limits: [{ type: 'Container', defaultRequest: { cpu: '100m' } }] } })
  expect(JSON.stringify(limits)).not.toContain('memory')
})

test.each<[string, Given, RegExp | undefined]>([
  ['all of it', {}, undefined],
  ['a stronger level', { labels: { [level]: 'restricted' } }, undefined],
  ['no level', { labels: {} }, /^it enforces no level of Pod Security, and is to enforce restricted$/],
  ['a weaker level', { labels: { [level]: 'baseline' } }, /^it enforces baseline /],
  ['a tighter quota', { quotas: [quotaOf({ hard: { 'count/pods': '1', cpu: '2500m', memory: '1Mi' } })] }, undefined],
  [
    'a wider quota',
    { quotas: [quotaOf({ hard: { ...hardOf(tenant.quota), pods: '4' } })] },
    /^no ResourceQuota bounds pods to 3$/,
  ],
  ['a quota for some Pods', { quotas: [quotaOf({ hard: hardOf(tenant.quota), scopes: ['BestEffort'] })] }, /bounds pods/],
  ['a policy for some Pods', { policies: [{ ...shut, podSelector: { matchLabels: { a: 'b' } } }] }, /^no NetworkPolicy shuts/],
  ['a policy for one way', { policies: [{ ...shut, policyTypes: ['Ingress'] }] }, /^no NetworkPolicy shuts/],
  ['a policy with a hole', { policies: [{ ...shut, egress: [{}] }] }, /^no NetworkPolicy shuts/],
])('a namespace with %s', (_what, seen, words) => {
  const lacks = lacking(seen)
  if (words === undefined) expect(lacks).toEqual([])
  else expect(lacks[0]).toMatch(words)
})

test('what the operator weakens is no lack', () => {
  expect(lacking({ labels: { [level]: 'baseline' } }, { ...tenant, security: 'baseline' })).toEqual([])
})

test('a namespace is empty by the count alone, and not before everything is counted', () => {
  const keys = Object.keys(
    (keptOf({ ...tenant, remove: true }, 'team', tags).at(-1) as { spec: { hard: Record<string, string> } }).spec.hard,
  )
  const count = (used: Record<string, string> | undefined, of = keys): ResourceQuota[] => {
    const hard = Object.fromEntries(of.map((key) => [key, '1000000']))
    return [{ metadata: { name: countName }, status: { hard, ...(used === undefined ? {} : { used }) } }]
  }
  expect(contentsOf([])).toBeUndefined()
  expect(contentsOf(count(undefined))).toBeUndefined()
  expect(contentsOf(count({}, keys.slice(1)))).toBeUndefined()
  // The certificate of the cluster, which each namespace has.
  expect(contentsOf(count({ 'count/configmaps': '1', 'count/secrets': '0' }))).toEqual([])
  expect(contentsOf(count({ 'count/configmaps': '2', persistentvolumeclaims: '1' }))).toEqual([
    'persistentvolumeclaims',
    'configmaps',
  ])
  // Whoever has made an account there for his workers wants to keep it.
  const own = { 'count/serviceaccounts': '1', 'count/networkpolicies.networking.k8s.io': '2' }
  expect(contentsOf(count(own))).toEqual([])
  const theirs = { 'count/serviceaccounts': '2', 'count/rolebindings.rbac.authorization.k8s.io': '1' }
  expect(contentsOf(count({ ...own, ...theirs }))).toEqual(['serviceaccounts', 'rolebindings.rbac.authorization.k8s.io'])
})

test('what is used is told without what only counts', () => {
  expect(
    usedOf([
      { metadata: { name: 'a' }, status: { hard: { pods: '3', 'requests.cpu': '2' }, used: { pods: '1' } } },
      { metadata: { name: countName }, status: { hard: { 'count/secrets': '1000000' } } },
    ]),
  ).toBe('pods 1 of 3, requests.cpu 0 of 2')
})

test.each<[object, string]>([
  [{}, 'quota'],
  [{ quota: {} }, 'quota'],
  [{ quota: { memory: '1GB' } }, 'quota.memory'],
  [{ quota: { pods: 1 }, remove: true }, 'remove'],
  [{ quota: { pods: 1 }, security: 'none' }, 'security'],
])('%j is refused at %s', (input, path) => {
  expect(tenantSchema.safeParse(input).error?.issues.map((issue) => issue.path.join('.'))).toEqual([path])
})
