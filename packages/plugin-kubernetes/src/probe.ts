/** Is the cluster there, and may we do what we need to? Changes nothing. */
import type { Probe } from '@muster/core'
import type { Right } from './api/calls.ts'
import { isStatus } from './api/failure.ts'
import type { Cluster } from './client.ts'
import type { PodManifest } from './objects.ts'
import { roleOf, roleText } from './rbac.ts'

/** A failure throws: the caller says what it means. */
export async function probeCluster(cluster: Cluster, signal: AbortSignal): Promise<Probe> {
  const version = await cluster.version(signal)
  const facts = { kubernetes: version, namespace: cluster.namespace }
  const missing = await cluster.missing(signal)
  if (missing.length > 0) return { ...lacking(missing, cluster.namespace), facts }
  const refused = await tryPod(cluster, signal)
  if (refused === undefined) return { state: 'ready', facts }
  const { message, final } = refused
  if (!final) return { state: 'ready', facts, notes: [`a plain worker would be refused: ${message}`] }
  return { state: 'failed', message, hint: "Make the namespace, or correct `namespace` in the provider's config.", facts }
}

function lacking(missing: readonly Right[], namespace: string): Probe {
  const words = missing.map(({ verb, resource }) => `${verb} ${resource}`)
  return {
    state: 'failed',
    message: `rights are missing in the namespace ${namespace}: ${words.join(', ')}`,
    hint: `Bind this Role to the user of the kubeconfig:\n${roleText(roleOf(namespace))}`,
  }
}

/** What the cluster says to the plainest worker of the level `restricted`; what only some pools meet is no failure of the provider. */
async function tryPod(cluster: Cluster, signal: AbortSignal): Promise<{ message: string; final: boolean } | undefined> {
  try {
    await cluster.createPod(plainPod(cluster.namespace), { dryRun: true, signal })
    return undefined
  } catch (error) {
    if (!isStatus(error, 403) && !isStatus(error, 404) && !isStatus(error, 422)) throw error
    return { message: (error as Error).message, final: isStatus(error, 404) }
  }
}

const plainPod = (namespace: string): PodManifest => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'muster-probe', namespace },
  spec: {
    containers: [
      {
        name: 'worker',
        image: 'muster-probe',
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  },
})
