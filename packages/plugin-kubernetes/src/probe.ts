/** Is the cluster there, and may we do what we need to? Changes nothing. */
import type { ListQuery, Probe } from '@muster/core'
import type { Right } from './api/calls.ts'
import { isStatus } from './api/failure.ts'
import type { Cluster } from './client.ts'
import { type Verdict, verdictOf } from './gate.ts'
import type { PodManifest } from './objects.ts'
import { gateSelector, type Tried } from './pools.ts'
import { roleOf, roleText } from './rbac.ts'

export interface ProbeParts {
  cluster: Cluster
  tags: ListQuery['tags']
  tried: Tried
}

/** A failure throws: the caller says what it means. */
export async function probeCluster(parts: ProbeParts, signal: AbortSignal): Promise<Probe> {
  const { cluster } = parts
  const version = await cluster.version(signal)
  const known = { kubernetes: version, namespace: cluster.namespace }
  const missing = await cluster.missing(signal)
  if (missing.length > 0) return { ...lacking(missing, cluster.namespace), facts: known }
  const verdict = await lastVerdict(parts, signal)
  const facts = {
    ...known,
    networkPolicies: verdict === undefined ? 'not tried' : verdict.enforced ? 'enforced' : 'not enforced',
  }
  const open = verdict?.enforced === false ? [`workers with egress none or restricted do not begin: ${verdict.message}`] : []
  const refused = await tryPod(cluster, signal)
  if (refused === undefined) return { state: 'ready', facts, ...(open.length === 0 ? {} : { notes: open }) }
  const { message, final } = refused
  if (!final) return { state: 'ready', facts, notes: [`a plain worker would be refused: ${message}`, ...open] }
  return { state: 'failed', message, hint: "Make the namespace, or correct `namespace` in the provider's config.", facts }
}

/** Gates to read: more than one page of a busy provider tells no more. */
const GATES = 100

/** What the gate that ended last has seen: of a worker, or of the Pod that tries policies when a pool is prepared. */
async function lastVerdict({ cluster, tags, tried }: ProbeParts, signal: AbortSignal): Promise<Verdict | undefined> {
  const { items } = await cluster.listPods({ selector: gateSelector(tags), limit: GATES }, signal)
  const verdicts = [tried.verdict, ...items.map(verdictOf)].filter((one) => one !== undefined)
  return verdicts.toSorted((left, right) => left.at - right.at).at(-1)
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
