/** Workers as Pods of one namespace of a Kubernetes cluster: the contract's methods, in its order. */
import {
  type Call,
  type PluginContext,
  ProviderError,
  type SpecField,
  type WorkerId,
  type WorkerPage,
  type WorkerProvider,
} from '@muster/core'
import type { Cluster } from './client.ts'
import { asProviderError, changes, guarded, guardedStream, reads } from './errors.ts'
import { runnerOf } from './exec.ts'
import { ownerSelector } from './labels.ts'
import { launchWorker } from './launch.ts'
import { readLogs } from './logs.ts'
import { phaseOf } from './observe.ts'
import { observeAll } from './observing.ts'
import type { NetworkConfig } from './network.ts'
import { type Lookup, releasePolicy } from './policies.ts'
import { preparePool, type Tried, unpreparePool } from './pools.ts'
import { probeCluster } from './probe.ts'
import { stopWorker } from './stop.ts'
import { uidOf } from './translate.ts'
import { createTurns } from './turns.ts'
import { watchWorkers } from './watch.ts'

/** What of the contract there is. */
export type KubernetesProvider = Required<
  Pick<
    WorkerProvider,
    | 'probe'
    | 'preparePool'
    | 'unpreparePool'
    | 'launch'
    | 'terminate'
    | 'list'
    | 'inspect'
    | 'watch'
    | 'logs'
    | 'exec'
    | 'execState'
    | 'execKill'
  >
>

export interface KubernetesProviderOptions {
  cluster: Cluster
  context: Pick<PluginContext, 'owner' | 'provider'>
  /** The optional spec fields that the manifest declares. */
  fields: readonly SpecField[]
  network?: NetworkConfig
  /** Finds the addresses of names in `network.allow`; default: this machine's resolver. */
  lookup?: Lookup
}

export function kubernetesProvider(options: KubernetesProviderOptions): KubernetesProvider {
  const { cluster, context, fields, network = {}, lookup } = options
  const tags = { 'muster-owner': context.owner, 'muster-provider': context.provider }
  const tried: Tried = {}
  const turns = createTurns()
  const removed = createRecent(REMEMBERED)

  /** A cluster tells of a Pod that does not run in many words. */
  async function running(id: WorkerId, { signal }: Call): Promise<void> {
    const pod = await cluster.readPod(id, signal)
    if (pod === undefined) throw new ProviderError('not-found', 'there is no such worker', { effect: 'none' })
    const phase = phaseOf(pod)
    if (phase !== 'running') throw new ProviderError('conflict', `the worker does not run: it is ${phase}`, { effect: 'none' })
  }

  return {
    async probe(call) {
      try {
        return await probeCluster({ cluster, tags, tried }, call.signal)
      } catch (error) {
        const judged = asProviderError(error, call, reads('reach the cluster'))
        if (call.signal.aborted) throw judged
        const { message, hint } = judged
        return { state: 'failed', message, ...(hint === undefined ? {} : { hint }) }
      }
    },

    preparePool: (pool, call) =>
      guarded(call, changes('prepare the pool'), () => preparePool({ cluster, network, tried }, pool, call)),

    unpreparePool: (target, call) => guarded(call, changes('take the pool away'), () => unpreparePool(cluster, target, call)),

    launch: (spec, call) =>
      guarded(call, changes('launch the worker'), () =>
        turns.take(spec.id, call.signal, () => launchWorker({ cluster, fields, network, lookup }, spec, call)),
      ),

    terminate: (target, how, call) =>
      guarded(call, changes('terminate the worker'), () =>
        turns.take(target.id, call.signal, async () => {
          removed.add(target.id)
          const ended = await stopWorker({ cluster, tags }, { target, how }, call)
          // The end of a Pod ends its policy; a launch that was broken off may have left one alone.
          if (ended.state === 'gone' && uidOf(target.handle) === undefined)
            await releasePolicy(cluster, { id: target.id, tags }, call.signal)
          return ended
        }),
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

    watch: (query, call) =>
      guardedStream(call, reads('watch the workers'), () => watchWorkers({ cluster, removed: removed.has }, query, call)),

    logs: ({ id }, options, call) =>
      guardedStream(call, reads('read the log'), () => readLogs(cluster, { pod: id, options }, call)),

    exec: ({ id }, command, call) =>
      guarded(call, changes('start the command'), async () => {
        await running(id, call)
        return runnerOf(cluster, id).exec(command, call.signal)
      }),

    execState: ({ id }, exec, call) =>
      guarded(call, reads('ask for the command'), async () => {
        await running(id, call)
        return runnerOf(cluster, id).state(exec, call.signal)
      }),

    execKill: ({ id }, { id: exec, signal: name }, call) =>
      guarded(call, changes('end the command'), async () => {
        await running(id, call)
        await runnerOf(cluster, id).kill(exec, name, call.signal)
      }),
  }
}

/** So many workers that were ended are remembered: more than a namespace has Pods at once. */
const REMEMBERED = 10_000

/** The last ones. */
function createRecent(most: number): { add(id: WorkerId): void; has(id: WorkerId): boolean } {
  const ids = new Set<WorkerId>()
  return {
    add(id) {
      ids.add(id)
      const [oldest] = ids
      if (ids.size > most && oldest !== undefined) ids.delete(oldest)
    },
    has: (id) => ids.has(id),
  }
}

/** All pages of a walk are of the state at its beginning, whose time goes along in the cursor. */
function placeOf(cursor: string | undefined): { asOf: number; rest: string } | undefined {
  const [, asOf, rest = ''] = /^(\d+)\.(.+)$/s.exec(cursor ?? '') ?? []
  return asOf === undefined ? undefined : { asOf: Number(asOf), rest }
}
