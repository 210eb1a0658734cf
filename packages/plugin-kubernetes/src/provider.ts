/** Workers as Pods of one namespace of a Kubernetes cluster: the contract's methods, in its order. */
import type { PluginContext, SpecField, WorkerPage, WorkerProvider } from '@muster/core'
import type { Cluster } from './client.ts'
import { changes, guarded, reads } from './doors.ts'
import { toKubernetesError } from './errors.ts'
import { ownerSelector } from './labels.ts'
import { launchWorker } from './launch.ts'
import { observeAll } from './observing.ts'
import { probeCluster } from './probe.ts'
import { stopWorker } from './stop.ts'
import { createTurns } from './turns.ts'

/** What of the contract there is. */
export type KubernetesProvider = Required<Pick<WorkerProvider, 'probe' | 'launch' | 'terminate' | 'list' | 'inspect'>>

export interface KubernetesProviderOptions {
  cluster: Cluster
  context: Pick<PluginContext, 'owner' | 'provider'>
  /** The optional spec fields that the manifest declares. */
  fields: readonly SpecField[]
}

export function kubernetesProvider({ cluster, context, fields }: KubernetesProviderOptions): KubernetesProvider {
  const tags = { 'muster-owner': context.owner, 'muster-provider': context.provider }
  const turns = createTurns()

  return {
    async probe(call) {
      try {
        return await probeCluster(cluster, call.signal)
      } catch (error) {
        if (call.signal.aborted) return guarded(call, reads('answer'), () => Promise.reject(error as Error))
        const { message, hint } = toKubernetesError(error, reads('reach the cluster'))
        return { state: 'failed', message, ...(hint === undefined ? {} : { hint }) }
      }
    },

    launch: (spec, call) =>
      guarded(call, changes('launch the worker'), () =>
        turns.take(spec.id, call.signal, () => launchWorker({ cluster, fields }, spec, call)),
      ),

    terminate: (target, how, call) =>
      guarded(call, changes('terminate the worker'), () =>
        turns.take(target.id, call.signal, () => stopWorker({ cluster, tags }, { target, how }, call)),
      ),

    list: (query, call) =>
      guarded(call, reads('list the workers'), async (): Promise<WorkerPage> => {
        const { asOf, rest } = placeOf(query.cursor) ?? { asOf: call.now(), rest: undefined }
        const { signal } = call
        const page = await cluster.listPods({ selector: ownerSelector(query.tags), limit: query.limit, rest }, signal)
        const workers = await observeAll(cluster, page.items, { tags: query.tags, now: call.now(), signal })
        const next = page.metadata.continue ?? ''
        return { workers, asOf: new Date(asOf).toISOString(), ...(next === '' ? {} : { next: `${asOf}.${next}` }) }
      }),

    // One question for all of them, answered by a quorum.
    inspect: (targets, call) =>
      guarded(call, reads('inspect workers'), async () => {
        const ids = targets.map(({ id }) => id)
        const { items } = await cluster.listPods({ selector: ownerSelector(tags, ids) }, call.signal)
        return observeAll(cluster, items, { tags, ids, now: call.now(), signal: call.signal })
      }),
  }
}

/** All pages of a walk are of the state at its beginning, whose time goes along in the cursor. */
function placeOf(cursor: string | undefined): { asOf: number; rest: string } | undefined {
  const [, asOf, rest = ''] = /^(\d+)\.(.+)$/s.exec(cursor ?? '') ?? []
  return asOf === undefined ? undefined : { asOf: Number(asOf), rest }
}
