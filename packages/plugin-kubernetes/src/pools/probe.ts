/** Is the cluster there, and may we do what we need to? Changes nothing. */
import type { ListQuery, Probe } from '@muster/core'
import type { Right } from '../api/calls.ts'
import { isStatus } from '../api/failure.ts'
import type { Cluster } from '../client.ts'
import { type Verdict, verdictOf } from '../network/gate.ts'
import { providerSelector } from '../labels.ts'
import { changedOf, rewrittenWords } from '../workers/launch.ts'
import { plainPod } from './plain-pod.ts'
import { gateSelector, type Tried } from './pools.ts'
import { roleText, tenantRightsOf, tenantRoleOf } from './rbac.ts'
import type { TenantConfig } from './tenant.ts'
import { lookAtTenant, type Tenant, type TenantLook } from './tenants.ts'

/** Commands get their input and its end since then. */
const LEAST_MINOR = 30

export interface ProbeParts {
  cluster: Cluster
  tags: ListQuery['tags']
  tried: Tried
  tenant?: Tenant
}

/** A failure throws: the caller says what it means. */
export async function probeCluster(parts: ProbeParts, signal: AbortSignal): Promise<Probe> {
  const { cluster, tags, tenant } = parts
  const version = await cluster.version(signal)
  const known = { kubernetes: version, namespace: cluster.namespace }
  const missing = await cluster.missing([...tenantRightsOf(tenant?.config), ...cluster.more], signal)
  if (missing.length > 0) return { ...lacking(missing, cluster, tenant?.config), facts: known }
  const place: TenantLook =
    tenant === undefined ? { facts: {}, notes: [] } : await lookAtTenant({ cluster, tags, tenant }, signal)
  if (place.failure !== undefined) return { state: 'failed', ...place.failure, facts: { ...known, ...place.facts } }
  if (place.absent === true) return { state: 'ready', facts: { ...known, ...place.facts }, notes: place.notes }
  const verdict = await lastVerdict(parts, signal)
  const facts = {
    ...known,
    ...place.facts,
    networkPolicies: verdict === undefined ? 'not tried' : verdict.enforced ? 'enforced' : 'not enforced',
  }
  const open = verdict?.enforced === false ? [`workers with egress none or restricted do not begin: ${verdict.message}`] : []
  const tried = await tryPod(cluster, tags, signal)
  if (tried.failure !== undefined) return { state: 'failed', ...tried.failure, facts }
  const unseen = await cluster.workers.unseen(tags, signal)
  const notes = [
    ...(unseen.length === 0 ? [] : [unseenWords(unseen, parts)]),
    ...(isOld(version) ? [`commands in workers need Kubernetes 1.${LEAST_MINOR} or newer`] : []),
    ...place.notes,
    ...tried.notes,
    ...open,
  ]
  return { state: 'ready', facts, ...(notes.length === 0 ? {} : { notes }) }
}

/** So many are named. */
const NAMED = 3

function unseenWords(ids: readonly string[], { cluster, tags }: ProbeParts): string {
  const more = ids.length > NAMED ? ` and ${ids.length - NAMED} more` : ''
  const selector = providerSelector(tags)
  return [
    `workers of this provider were made as Jobs, which its Role does not let it see: ${ids.slice(0, NAMED).join(', ')}${more};`,
    'their Pods are seen and ended, the Jobs stay: bind `role-jobs.yaml` again until they have gone, or',
    `\`kubectl delete jobs --namespace=${cluster.namespace} --selector=${selector}\`, which ends what runs in them`,
  ].join(' ')
}

function isOld(version: string): boolean {
  const [, major, minor] = /^v(\d+)\.(\d+)/.exec(version) ?? []
  return major === '1' && Number(minor) < LEAST_MINOR
}

/** Gates to read: more than one page of a busy provider tells no more. */
const GATES = 100

/** What the gate that ended last has seen: of a worker, or of the Pod that tries policies when a pool is prepared. */
async function lastVerdict({ cluster, tags, tried }: ProbeParts, signal: AbortSignal): Promise<Verdict | undefined> {
  const { items } = await cluster.listPods({ selector: gateSelector(tags), limit: GATES }, signal)
  const verdicts = [tried.verdict, ...items.map(verdictOf)].filter((one) => one !== undefined)
  return verdicts.toSorted((left, right) => left.at - right.at).at(-1)
}

function lacking(missing: readonly Right[], { namespace, more }: Cluster, tenant: TenantConfig | undefined): Probe {
  const role = tenantRoleOf(namespace, tenant, more)
  const words = missing.map(({ verb, resource }) => `${verb} ${resource}`)
  return {
    state: 'failed',
    message: `rights are missing in the namespace ${namespace}: ${words.join(', ')}`,
    hint: `Bind this ${role.kind} to the user of the kubeconfig:\n${roleText(role)}`,
  }
}

interface Attempt {
  failure?: { message: string; hint: string }
  notes: string[]
}

/** What the cluster says to the plainest worker of the level `restricted`; what only some pools meet is no failure of the provider. */
async function tryPod(cluster: Cluster, tags: ListQuery['tags'], signal: AbortSignal): Promise<Attempt> {
  const pod = plainPod(cluster.namespace, tags)
  try {
    const changed = changedOf(pod, await cluster.workers.create(pod, { dryRun: true, signal }))
    if (changed === undefined) return { notes: [] }
    return { failure: rewrittenWords(changed), notes: [] }
  } catch (error) {
    const { message } = error as Error
    if (isStatus(error, 400) && /does not support dry run/i.test(message))
      return { notes: [`whether a plain worker is taken is not known: ${message}`] }
    if (isStatus(error, 403) || isStatus(error, 422)) return { notes: [`a plain worker would be refused: ${message}`] }
    if (!isStatus(error, 404)) throw error
    return { failure: { message, hint: "Make the namespace, or correct `namespace` in the provider's config." }, notes: [] }
  }
}
