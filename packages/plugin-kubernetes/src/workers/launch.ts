/** Makes a worker: one Pod, or one Job, under the worker's own name. The name makes it repeatable by anybody. */
import { type Call, type LaunchedWorker, type LaunchSpec, ProviderError, type SpecField } from '@muster/core'
import type { Cluster } from '../client.ts'
import { ApiFailure, isStatus } from '../api/failure.ts'
import { secretOf } from '../pod/files.ts'
import { annotation, changedName, specDigest, tagsOf } from '../labels.ts'
import { checkNetwork, type NetworkConfig } from '../network/network.ts'
import type { Pod, PodManifest } from '../objects.ts'
import { closeNetwork, type Lookup } from '../network/policies.ts'
import { settingsOf } from '../settings.ts'
import { isOver, LEAST_SECONDS } from './stop.ts'
import { checkSpec, grantedOf, handleOf, podOf, type PodNetwork } from '../translate.ts'

export interface LaunchParts {
  cluster: Cluster
  /** The optional spec fields that are honoured. */
  fields: readonly SpecField[]
  network: NetworkConfig
  lookup?: Lookup | undefined
}

export async function launchWorker(parts: LaunchParts, spec: LaunchSpec, call: Call): Promise<LaunchedWorker> {
  checkSpec(spec, parts.fields)
  checkNetwork(spec, settingsOf(spec), parts.network.gate)
  const closed = await closeNetwork(parts, spec, call)
  const gate = closed === undefined ? {} : { gate: parts.network.gate, hosts: closed.hosts }
  const pod = await createOrFind(parts.cluster, { spec, network: gate }, call.signal).catch(async (error: unknown) => {
    // Whoever is refused is not terminated. What may have come to be is, and its policy with it.
    if (!mayExist(error)) await closed?.undo()
    throw error
  })
  await closed?.own(pod)
  // After the Pod, as its own: it goes with it, whenever that is. The Pod waits for it.
  const secret = secretOf(spec, pod)
  if (secret !== undefined) await parts.cluster.putSecret(secret, call.signal)
  const granted = grantedOf(spec)
  return { handle: handleOf(pod.metadata), ...(granted === undefined ? {} : { granted }) }
}

/** An answer is no: nothing was made. */
function mayExist(error: unknown): boolean {
  if (error instanceof ProviderError) return error.effect === 'possible'
  return !(error instanceof ApiFailure) || error.status === undefined || error.status >= 500
}

async function createOrFind(
  cluster: Cluster,
  { spec, network }: { spec: LaunchSpec; network: PodNetwork },
  signal: AbortSignal,
): Promise<Pod> {
  const manifest = podOf(spec, cluster.namespace, network)
  try {
    const made = await cluster.workers.create(manifest, { signal })
    const changed = changedOf(manifest, made)
    if (changed === undefined) return made
    const uid = made.metadata.uid ?? ''
    const left = await cluster.workers.remove(spec.id, { uid, graceSeconds: LEAST_SECONDS, tags: spec.tags, signal })
    throw rewritten(changed, left === undefined || isOver(left) ? 'none' : 'possible')
  } catch (error) {
    // A conflict over a quota has the same number.
    if (!isStatus(error, 409, 'AlreadyExists')) throw error
    const found = await cluster.workers.again(spec.id, signal)
    if (found === undefined) throw conflict('the worker of this id has just gone')
    checkSame(spec, found)
    const changed = changedOf(manifest, found)
    if (changed !== undefined) throw rewritten(changed, 'possible')
    return found
  }
}

/** Which of our marks is not as it was sent; undefined: all are. What a Job gives its Pod is by what that is found. */
export function changedOf({ metadata }: PodManifest, { metadata: made, job }: Pod): string | undefined {
  return (
    changedName(metadata, made) ??
    (job?.template === undefined ? undefined : changedName(metadata, { name: '', ...job.template }))
  )
}

/** Nobody would find it, or no policy of its pool would hold for it. */
export function rewrittenWords(name: string): { message: string; hint: string } {
  return {
    message: `the cluster changes ${name} of a worker, by which it is found`,
    hint: 'A webhook rewrites it: exempt the namespace of the workers, or let it leave alone what begins with `muster`.',
  }
}

function rewritten(name: string, effect: 'none' | 'possible'): ProviderError {
  const { message, hint } = rewrittenWords(name)
  return new ProviderError('unsupported', message, { effect, hint })
}

function checkSame(spec: LaunchSpec, { metadata }: Pod): void {
  if (tagsOf(metadata) === undefined || metadata.annotations?.[annotation.spec] !== specDigest(spec))
    throw conflict('what has the name of this worker was made from another spec')
  if (metadata.deletionTimestamp !== undefined) throw conflict('the worker of this id is being removed')
}

function conflict(message: string): ProviderError {
  return new ProviderError('conflict', message, { effect: 'none' })
}
