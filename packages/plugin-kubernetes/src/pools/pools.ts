/** What a pool has in the cluster beside its workers: a policy, its Services, and a Pod that tries whether policies hold. */
import { type Call, type Handle, type ListQuery, type PoolRef, type PoolRequest, ProviderError } from '@muster/core'
import { setTimeout as delay } from 'node:timers/promises'
import { isStatus } from '../api/failure.ts'
import { budgetOf } from './budget.ts'
import type { Cluster } from '../client.ts'
import { groupServiceOf, poolServiceOf } from './discovery.ts'
import { gateOf, type Verdict, verdictOf } from '../network/gate.ts'
import { digestOf } from '@muster/provider-parts/digest'
import { isPools, label, ownerSelector, poolLabels, poolName, poolSelector } from '../labels.ts'
import { checkGate, type Closed, closedOf, type GateConfig, type NetworkConfig, poolPolicyOf } from '../network/network.ts'
import type { Beside, Pod, PodManifest } from '../objects.ts'
import { waitingProblem } from '../workers/problems.ts'
import { levels, podSecurityOf } from '../pod/security.ts'
import { type KubernetesSettings, refuse, settingsOf } from '../settings.ts'
import { inTenant, leaveTenant, type Tenant } from './tenants.ts'
import { placeOf } from '../translate.ts'

export interface PoolParts {
  cluster: Cluster
  tags: ListQuery['tags']
  network: NetworkConfig
  tried: Tried
  tenant?: Tenant
}

/** What the last preparation saw that found policies not to hold: nothing in the cluster tells it. */
export interface Tried {
  verdict?: Verdict
}

/** In the namespace of a tenant, where it is one's own. */
export async function preparePool(parts: PoolParts, pool: PoolRequest, call: Call): Promise<{ handle: Handle; digest: string }> {
  const { cluster, tags, tenant } = parts
  if (tenant === undefined) return prepare(parts, pool, call)
  const { security: most = 'restricted' } = tenant.config
  const { security = 'restricted' } = settingsOf({ settings: pool.settings })
  if (levels[security] > levels[most])
    throw refuse('unsupported', 'settings.security', `the namespace is a tenant's, whose level is ${most}`)
  return inTenant({ cluster, tags, tenant }, call, () => prepare(parts, pool, call))
}

/** Applying it again changes nothing. What an earlier preparation made, and this one needs not, stays for its own removal. */
async function prepare(
  { cluster, network, tried }: PoolParts,
  { tags, egress, settings: given }: PoolRequest,
  call: Call,
): Promise<{ handle: Handle; digest: string }> {
  const settings = settingsOf({ settings: given })
  const { namespace } = cluster
  const policy = poolPolicyOf(tags, settings, namespace)
  const group = groupServiceOf(tags, settings, namespace)
  const services = [poolServiceOf(tags, namespace), ...(group === undefined ? [] : [group])]
  const budget = budgetOf(tags, settings, namespace)
  const beside = [...services, ...(budget === undefined ? [] : [budget])]
  const digest = digestOf([policy, beside]).slice(0, 32)
  const closed = closedOf(egress === undefined ? {} : { egress })
  if (closed !== undefined) checkGate(closed, network.gate)
  const made: Beside[] = []
  try {
    for (const object of [policy, ...beside]) if (await putOwn(cluster, { object, tags, digest }, call.signal)) made.push(object)
    if (closed !== undefined && network.gate !== undefined)
      await tryPolicies({ cluster, tried }, { tags, settings, closed, gate: network.gate, digest }, call)
  } catch (error) {
    // Nobody would come to take it away: a pool that could not be prepared is not noted.
    const bounded = AbortSignal.timeout(UNDO_MS)
    for (const { kind, metadata } of made) await cluster.remove(kind, { name: metadata.name, uid: undefined }, bounded)
    throw error
  }
  return { handle: { v: 1, data: { digest, namespace } }, digest }
}

/** For a few requests to a cluster that has just answered. */
const UNDO_MS = 5_000

/** Takes away what this preparation made and no later one uses, and what ended workers have left. */
export async function unpreparePool(
  { cluster, tags: own, tenant }: Pick<PoolParts, 'cluster' | 'tags' | 'tenant'>,
  { pool, handle }: { pool: PoolRef; handle: Handle },
  call: Call,
): Promise<void> {
  const { tags } = pool
  const { signal } = call
  const { digest, namespace = cluster.namespace } = (handle.data ?? {}) as { digest?: unknown; namespace?: unknown }
  if (namespace !== cluster.namespace) throw elsewhere(String(namespace), cluster.namespace)
  const selector = `${ownerSelector(tags)},${poolSelector(tags)}`
  if (await cluster.workers.some(selector, signal))
    throw new ProviderError('conflict', 'the pool still has workers', { effect: 'none' })
  for (const kind of ['NetworkPolicy', 'Service', 'PodDisruptionBudget'] as const)
    for (const { metadata } of await cluster.list(kind, poolSelector(tags), signal)) {
      const { name, uid, labels = {} } = metadata
      if (labels[label.prepared] === digest || labels['muster-worker'] === name) await cluster.remove(kind, { name, uid }, signal)
    }
  const trial = await cluster.readPod(trialName(tags), signal)
  if (trial !== undefined && isPools(trial.metadata, tags) && trial.metadata.labels?.[label.prepared] === digest)
    await strike(cluster, trial, signal)
  if (tenant !== undefined) await leaveTenant({ cluster, tags: own, tenant }, call)
}

/** Nobody but who is configured for it takes it away; until then it is not forgotten. */
function elsewhere(before: string, now: string): ProviderError {
  return new ProviderError(
    'transient',
    `it was prepared in the namespace ${before}, and this provider is configured for ${now}`,
    {
      effect: 'none',
      hint: 'Configure the provider as it was until that is taken away, and give the new namespace a provider of its own.',
    },
  )
}

/** True: it was not there before. One that somebody else has made is left alone. */
async function putOwn(
  cluster: Cluster,
  { object, tags, digest }: { object: Beside; tags: PoolRef['tags']; digest: string },
  signal: AbortSignal,
): Promise<boolean> {
  const { kind, metadata } = object
  const found = await cluster.read(kind, metadata.name, signal)
  if (found !== undefined && !isPools(found.metadata, tags)) throw taken(object)
  await cluster.apply({ ...object, metadata: { ...metadata, labels: { ...metadata.labels, [label.prepared]: digest } } }, signal)
  return found === undefined
}

function taken({ kind, metadata: { name, labels = {} } }: Beside): ProviderError {
  if (labels[label.part] === 'group')
    return refuse(
      'invalid-spec',
      'settings.service.name',
      "another Service of this namespace has this name, which is not this pool's",
    )
  return new ProviderError('conflict', `the ${kind} ${name} is somebody else's`, { effect: 'none' })
}

const trialName = (tags: PoolRef['tags']): string => `${poolName(tags)}-trial`

interface Trial {
  tags: PoolRef['tags']
  settings: KubernetesSettings
  closed: Closed
  gate: GateConfig
  digest: string
}

/** How often it is asked for the end of a Pod that takes seconds. */
const ASK_MS = 500

/** Resolves when the policy of the pool was seen to hold; the Pod that saw it stays, ended, for whoever probes. */
async function tryPolicies({ cluster, tried }: Pick<PoolParts, 'cluster' | 'tried'>, trial: Trial, call: Call): Promise<void> {
  const { signal } = call
  let pod: Pod | undefined = await beginTrial(cluster, trial, signal)
  for (;;) {
    if (pod === undefined) throw new ProviderError('transient', 'the Pod that tries policies has gone', { effect: 'possible' })
    const verdict = verdictOf(pod)
    if (verdict?.enforced === true) return
    if (verdict !== undefined) {
      tried.verdict = verdict
      await strike(cluster, pod, signal)
      throw refuse('unsupported', `network.egress.${trial.closed}`, verdict.message)
    }
    checkTrial(pod)
    await delay(ASK_MS, undefined, { signal })
    pod = await cluster.readPod(trialName(trial.tags), signal)
  }
}

/** What one saw before is old: the engine may have gone since. */
async function beginTrial(cluster: Cluster, trial: Trial, signal: AbortSignal): Promise<Pod> {
  const manifest = trialPod(trial, cluster.namespace)
  const { name } = manifest.metadata
  const before = await cluster.readPod(name, signal)
  if (before !== undefined && !isPools(before.metadata, trial.tags))
    throw new ProviderError('conflict', `the Pod ${name} is somebody else's`, { effect: 'none' })
  if (before !== undefined && isEnded(before)) await strike(cluster, before, signal)
  try {
    return await cluster.createPod(manifest, { signal })
  } catch (error) {
    // Another process tries it right now.
    const other = isStatus(error, 409, 'AlreadyExists') ? await cluster.readPod(name, signal) : undefined
    if (other === undefined) throw error
    return other
  }
}

async function strike(cluster: Cluster, { metadata: { name, uid = '' } }: Pod, signal: AbortSignal): Promise<void> {
  await cluster.deletePod(name, { uid, graceSeconds: 0, signal })
}

const isEnded = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

/** Ends the wait for a Pod that will not tell. */
function checkTrial(pod: Pod): void {
  const statuses = pod.status?.containerStatuses ?? []
  const waiting = statuses.flatMap(({ name, state }) =>
    state?.waiting === undefined ? [] : [waitingProblem(name, state.waiting)],
  )
  const problem = waiting.find((one) => one?.final === true)
  if (problem !== undefined)
    throw new ProviderError(problem.code, `policies cannot be tried: ${problem.message}`, { effect: 'none' })
  if (!isEnded(pod)) return
  const told = statuses[0]?.state?.terminated?.message ?? pod.status?.message ?? pod.status?.reason ?? 'its Pod ended'
  throw new ProviderError('transient', `policies cannot be tried: ${told.trim()}`, { effect: 'none' })
}

/** A plain Pod where the pool's workers are, under the pool's policy. */
function trialPod({ tags, settings, gate, digest }: Trial, namespace: string): PodManifest {
  const labels = { ...poolLabels(tags), [label.part]: 'trial', [label.egress]: 'none', [label.prepared]: digest }
  const plain = { id: 'w00000000000000000000000000', work: { mode: 'hold' } } as const
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: trialName(tags), namespace, labels },
    spec: {
      containers: [gateOf(gate)],
      restartPolicy: 'Never',
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      // Its image is brought in this time too.
      activeDeadlineSeconds: gate.seconds + BRING_SECONDS,
      securityContext: podSecurityOf({ ...plain, tags: { ...tags, 'muster-worker': plain.id, 'muster-epoch': '0' } }, {}),
      ...placeOf({ tags }, settings),
      ...(settings.pullSecrets === undefined ? {} : { imagePullSecrets: settings.pullSecrets.map((name) => ({ name })) }),
    },
  }
}

/** An image like busybox is a few megabytes. */
const BRING_SECONDS = 60

/** Both kinds of Pods that have a gate, of one provider. */
export function gateSelector(tags: Parameters<typeof ownerSelector>[0]): string {
  const [owner, provider] = ownerSelector(tags).split(',')
  return `${owner},${provider},${label.egress} in (none,restricted)`
}
