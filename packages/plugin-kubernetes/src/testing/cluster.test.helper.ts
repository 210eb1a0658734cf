/** A namespace of a cluster for tests, and a user of it who has the rights that the plugin asks for, and no others. */
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { type Role, roleOf } from '../pools/rbac.ts'

interface KubeconfigFile {
  clusters: { name: string; cluster: Record<string, unknown> }[]
}

export interface Place {
  namespace: string
  /** Path of a kubeconfig of that user. */
  kubeconfig: string
  context: string
}

/** Makes the namespace with Pod Security `restricted` enforced, a service account, its Role, and a kubeconfig with its token. */
export async function makePlace(
  cluster: Pick<KubernetesCluster, 'ask' | 'kubectl' | 'kubeconfig'>,
  namespace: string,
  role: Role = roleOf(namespace),
): Promise<Place> {
  const create = (path: string, body: object): Promise<unknown> => cluster.ask({ method: 'POST', path, body })
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
  await create('/api/v1/namespaces', { metadata: { name: namespace, labels } })
  const name = 'muster'
  await create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } })
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`
  await create(`${rbac}/roles`, role)
  await create(`${rbac}/rolebindings`, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: role.metadata.name },
    subjects: [{ kind: 'ServiceAccount', name, namespace }],
  })
  const token = await cluster.ask<{ status: { token: string } }>({
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
    body: { spec: { expirationSeconds: 36_000 } },
  })
  const kubeconfig = join(dirname(cluster.kubeconfig), `${namespace}.kubeconfig`)
  await writeFile(kubeconfig, JSON.stringify(await configOf(cluster, token.status.token)), { mode: 0o600 })
  return { namespace, kubeconfig, context: name }
}

async function configOf({ kubectl }: Pick<KubernetesCluster, 'kubectl'>, token: string): Promise<object> {
  const { stdout } = await kubectl(['config', 'view', '--raw', '--flatten', '--minify', '--output=json'])
  const { clusters } = JSON.parse(stdout) as KubeconfigFile
  const name = 'muster'
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters,
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: clusters[0]?.name, user: name } }],
    'current-context': name,
  }
}
