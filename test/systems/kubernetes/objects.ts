/** What a new cluster for tests holds beside what Kubernetes makes by itself: the rights of its components, and its DNS. */
import { DNS_ADDRESS } from './addresses.ts'

/** An object and where it is created. */
export interface ClusterObject {
  path: string
  body: object
}

const READ = ['get', 'list', 'watch']

const RIGHTS = {
  coredns: [
    { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: READ },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
  ],
  policies: [
    { apiGroups: [''], resources: ['namespaces', 'pods', 'nodes'], verbs: READ },
    { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: READ },
  ],
}

/** In the order in which they are created. The DNS is a process of the node: its service has no selector, but an address by hand. */
export function clusterObjects(node: string): ClusterObject[] {
  const dns = { name: 'kube-dns', namespace: 'kube-system' }
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'dns-tcp', port: 53, protocol: 'TCP' },
  ]
  return [
    ...Object.entries(RIGHTS).flatMap(([user, rules]) => rightsOf(user, rules)),
    {
      path: '/api/v1/namespaces/kube-system/services',
      body: { apiVersion: 'v1', kind: 'Service', metadata: dns, spec: { clusterIP: DNS_ADDRESS, ports } },
    },
    {
      path: '/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices',
      body: {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { ...dns, labels: { 'kubernetes.io/service-name': dns.name } },
        addressType: 'IPv4',
        ports,
        endpoints: [{ addresses: [node], conditions: { ready: true } }],
      },
    },
  ]
}

function rightsOf(user: string, rules: readonly object[]): ClusterObject[] {
  const group = 'rbac.authorization.k8s.io'
  const [apiVersion, metadata] = [`${group}/v1`, { name: `muster-test-${user}` }]
  const path = `/apis/${apiVersion}`
  return [
    { path: `${path}/clusterroles`, body: { apiVersion, kind: 'ClusterRole', metadata, rules } },
    {
      path: `${path}/clusterrolebindings`,
      body: {
        ...{ apiVersion, kind: 'ClusterRoleBinding', metadata },
        roleRef: { apiGroup: group, kind: 'ClusterRole', name: metadata.name },
        subjects: [{ kind: 'User', name: user, apiGroup: group }],
      },
    },
  ]
}
