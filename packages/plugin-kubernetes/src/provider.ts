/** Workers as Pods of one namespace of a Kubernetes cluster: the contract's methods, in its order. */
import { posix } from 'node:path'
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
import { type CopyLimits, copyLimitsOf } from './copies.ts'
import { type Copying, packed, unpack } from './copy.ts'
import { asProviderError, changes, guarded, guardedStream, reads } from './errors.ts'
import { rawExecOf, runnerOf } from './exec.ts'
import { forwardTo } from './forward.ts'
import { headroomOf } from './headroom.ts'
import { ownerSelector } from './labels.ts'
import { launchWorker } from './launch.ts'
import { readLogs } from './logs.ts'
import type { Pod } from './objects.ts'
import { phaseOf } from './observe.ts'
import { observeAll } from './observing.ts'
import { probeCluster } from './probe.ts'
import { sampleWorkers } from './samples.ts'
import { stopWorker } from './stop.ts'
import { createTerminals } from './terminal.ts'
import { workerContainer } from './translate.ts'
import { createTurns } from './turns.ts'
import { watchWorkers } from './watch.ts'

/** What of the contract there is. */
export type KubernetesProvider = Required<
  Pick<
    WorkerProvider,
    | (
        | 'probe'
        | 'launch'
        | 'terminate'
        | 'list'
        | 'inspect'
        | 'watch'
        | 'logs'
        | 'exec'
        | 'execState'
        | 'execKill'
        | 'execResize'
      )
    | ('copyIn' | 'copyOut' | 'forward' | 'stats' | 'headroom')
  >
>

export interface KubernetesProviderOptions {
  cluster: Cluster
  context: Pick<PluginContext, 'owner' | 'provider'>
  /** The optional spec fields that the manifest declares. */
  fields: readonly SpecField[]
  /** Absent: the usual ones. */
  copies?: CopyLimits
}

export function kubernetesProvider({
  cluster,
  context,
  fields,
  copies = copyLimitsOf({}),
}: KubernetesProviderOptions): KubernetesProvider {
  const tags = { 'muster-owner': context.owner, 'muster-provider': context.provider }
  const turns = createTurns()
  const removed = createRecent(REMEMBERED)
  const terminals = createTerminals(cluster)

  /** A cluster tells of a Pod that does not run in many words. */
  async function running(id: WorkerId, { signal }: Call): Promise<Pod> {
    const pod = await cluster.readPod(id, signal)
    if (pod === undefined) throw new ProviderError('not-found', 'there is no such worker', { effect: 'none' })
    const phase = phaseOf(pod)
    if (phase !== 'running') throw new ProviderError('conflict', `the worker does not run: it is ${phase}`, { effect: 'none' })
    return pod
  }

  /** A path of a copy, from where the worker works. */
  async function copying(id: WorkerId, path: string, call: Call): Promise<Copying> {
    const pod = await running(id, call)
    const workdir = pod.spec.containers.find(({ name }) => name === workerContainer)?.workingDir ?? '/'
    return { raw: rawExecOf(cluster, id), at: posix.resolve(workdir, path), path, limits: copies, signal: call.signal }
  }

  return {
    async probe(call) {
      try {
        return await probeCluster(cluster, call.signal)
      } catch (error) {
        const judged = asProviderError(error, call, reads('reach the cluster'))
        if (call.signal.aborted) throw judged
        const { message, hint } = judged
        return { state: 'failed', message, ...(hint === undefined ? {} : { hint }) }
      }
    },

    launch: (spec, call) =>
      guarded(call, changes('launch the worker'), () =>
        turns.take(spec.id, call.signal, () => launchWorker({ cluster, fields }, spec, call)),
      ),

    terminate: (target, how, call) =>
      guarded(call, changes('terminate the worker'), () =>
        turns.take(target.id, call.signal, () => {
          removed.add(target.id)
          return stopWorker({ cluster, tags }, { target, how }, call)
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
        if (command.tty !== undefined) return terminals.open(id, { ...command, tty: command.tty }, call)
        return runnerOf(cluster, id).exec(command, call.signal)
      }),

    execState: ({ id }, exec, call) =>
      guarded(call, reads('ask for the command'), async () => {
        await running(id, call)
        if (terminals.has(exec)) return { state: 'running' }
        return runnerOf(cluster, id).state(exec, call.signal)
      }),

    execKill: ({ id }, { id: exec, signal: name }, call) =>
      guarded(call, changes('end the command'), async () => {
        await running(id, call)
        if (await terminals.kill(exec, name, call.signal)) return
        await runnerOf(cluster, id).kill(exec, name, call.signal)
      }),

    execResize: ({ id }, { id: exec, ...size }, call) =>
      guarded(call, changes('resize the terminal'), async () => {
        await running(id, call)
        await terminals.resize(exec, size)
      }),

    copyIn: ({ id }, { path, tar }, call) =>
      guarded(call, changes('copy into the worker'), async () => unpack(await copying(id, path, call), tar)),

    copyOut: ({ id }, path, call) =>
      guardedStream(call, reads('copy out of the worker'), async function* () {
        yield* packed(await copying(id, path, call))
      }),

    forward: ({ id }, input, call) =>
      guardedStream(call, reads('forward to the worker'), async function* () {
        yield* forwardTo(cluster, { ...input, pod: await running(id, call) }, call.signal)
      }),

    stats: (query, call) => guardedStream(call, reads('measure the workers'), () => sampleWorkers(cluster, query, call)),

    headroom: (call) =>
      guarded(call, reads('ask for headroom'), async () => {
        const [quotas, seen] = await Promise.all([cluster.listQuotas(call.signal), cluster.listNodes(call.signal)])
        return headroomOf(quotas, seen)
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
