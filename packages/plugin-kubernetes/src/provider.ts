/** Workers as Pods or Jobs of one namespace of a Kubernetes cluster: the contract's methods, in its order. */
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
import { secondsOf } from './pod/containers.ts'
import { type CopyLimits, copyLimitsOf } from '@muster/provider-parts/copies'
import { type Copying, packed, unpack } from './inside/copy.ts'
import { createEnds } from './workers/ends.ts'
import { asProviderError, changes, guarded, guardedStream, reads } from './errors.ts'
import { rawExecOf, runnerOf } from './inside/exec.ts'
import { forwardTo } from './inside/forward.ts'
import { headroomOf } from './pools/headroom.ts'
import { isMarked, isOwn, ownerSelector, tagsOf } from './labels.ts'
import { launchWorker } from './workers/launch.ts'
import { readLogs } from './inside/logs.ts'
import type { NetworkConfig } from './network/network.ts'
import type { Pod } from './objects.ts'
import { phaseOf, runsInside } from './workers/observe.ts'
import { createObserver } from './workers/observing.ts'
import { type Lookup, releasePolicy } from './network/policies.ts'
import { preparePool, type Tried, unpreparePool } from './pools/pools.ts'
import { probeCluster } from './pools/probe.ts'
import { sampleWorkers } from './samples/samples.ts'
import { askEnd, LEAST_SECONDS, MOST_WAITING, seeEnd } from './workers/stop.ts'
import type { TenantConfig } from './pools/tenant.ts'
import { createTenant } from './pools/tenants.ts'
import { createTerminals } from './inside/terminal.ts'
import { isMarkedBy, uidOf, workerContainer } from './translate.ts'
import { createTurns } from './workers/turns.ts'
import { watchWorkers } from './workers/watch.ts'
import { podNameOf } from './workers.ts'

/** What of the contract there is. */
export type KubernetesProvider = Required<
  Pick<
    WorkerProvider,
    | (
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
        | 'execResize'
      )
    | ('copyIn' | 'copyOut' | 'forward' | 'mark' | 'stats' | 'headroom')
  >
>

export interface KubernetesProviderOptions {
  cluster: Cluster
  context: Pick<PluginContext, 'owner' | 'provider'>
  /** The optional spec fields that the manifest declares. */
  fields: readonly SpecField[]
  /** Absent: the usual ones. */
  copies?: CopyLimits
  network?: NetworkConfig
  /** The namespace is a tenant's own. */
  tenant?: TenantConfig
  /** Finds the addresses of names in `network.allow`; default: this machine's resolver. */
  lookup?: Lookup
}

export function kubernetesProvider(options: KubernetesProviderOptions): KubernetesProvider {
  const { cluster, context, fields, copies = copyLimitsOf({}), network = {}, lookup } = options
  const tags = { 'muster-owner': context.owner, 'muster-provider': context.provider }
  const { workers } = cluster
  const tried: Tried = {}
  const parts = {
    ...{ cluster, tags, tried, network },
    ...(options.tenant === undefined ? {} : { tenant: createTenant(options.tenant) }),
  }
  const observer = createObserver(cluster)
  const turns = createTurns()
  const asked = createRecent<number>(REMEMBERED)
  const ends = createEnds(MOST_WAITING)
  const terminals = createTerminals(cluster)

  function checkOwn({ metadata }: Pod): void {
    if (!isOwn(tagsOf(metadata), tags)) throw new ProviderError('not-found', 'there is no such worker', { effect: 'none' })
  }

  /** The Pod of a worker whose container runs, also while it is to end. A cluster tells of one that does not in many words. */
  const running = (id: WorkerId, call: Call): Promise<Pod> =>
    guarded(call, reads('look at the worker'), async () => {
      const pod = await workers.read(id, call.signal)
      if (pod === undefined) throw new ProviderError('not-found', 'there is no such worker', { effect: 'none' })
      checkOwn(pod)
      if (!runsInside(pod))
        throw new ProviderError('conflict', `the worker does not run: it is ${phaseOf(pod, cluster.now())}`, { effect: 'none' })
      return pod
    })

  /** A path of a copy, from where the worker works. */
  async function copying(id: WorkerId, path: string, call: Call): Promise<Copying> {
    const pod = await running(id, call)
    const workdir = pod.spec.containers.find(({ name }) => name === workerContainer)?.workingDir ?? '/'
    return {
      raw: rawExecOf(cluster, podNameOf(pod)),
      at: posix.resolve(workdir, path),
      path,
      limits: copies,
      signal: call.signal,
    }
  }

  return {
    async probe(call) {
      try {
        return await probeCluster(parts, call.signal)
      } catch (error) {
        const judged = asProviderError(error, call, reads('reach the cluster'))
        if (call.signal.aborted) throw judged
        const { message, hint } = judged
        return { state: 'failed', message, ...(hint === undefined ? {} : { hint }) }
      }
    },

    preparePool: (pool, call) => guarded(call, changes('prepare the pool'), () => preparePool(parts, pool, call)),

    unpreparePool: (target, call) => guarded(call, changes('take the pool away'), () => unpreparePool(parts, target, call)),

    launch: (spec, call) =>
      guarded(call, changes('launch the worker'), () =>
        turns.take(spec.id, call.signal, () => launchWorker({ cluster, fields, network, lookup }, spec, call)),
      ),

    terminate: (target, how, call) =>
      guarded(call, changes('terminate the worker'), async () => {
        const { id } = target
        const wish = await turns.take(id, call.signal, async () => {
          const before = asked.get(id)
          asked.set(id, how.force ? LEAST_SECONDS : secondsOf(how.graceMs))
          return askEnd({ cluster, tags, ends, before }, { target, how }, call)
        })
        const ended = await seeEnd(cluster, { id, asked: wish }, call)
        // The end of a Pod ends its policy; a launch that was broken off, or who deletes without what is owned, may have left one alone.
        if (wish.loose === true || (ended.state === 'gone' && uidOf(target.handle) === undefined))
          await turns.take(id, call.signal, () => releasePolicy(cluster, { id, tags }, call.signal))
        return ended
      }),

    list: (query, call) =>
      guarded(call, reads('list the workers'), async (): Promise<WorkerPage> => {
        const { asOf, rest } = query.cursor === undefined ? { asOf: call.now(), rest: undefined } : placeOf(query.cursor)
        const { items, next } = await workers.page({ selector: ownerSelector(query.tags), limit: query.limit, rest }, call.signal)
        const seen = await observer.observe(items, query.tags, call)
        return { workers: seen, asOf: new Date(asOf).toISOString(), ...(next === undefined ? {} : { next: `${asOf}.${next}` }) }
      }),

    // Answered by a quorum.
    inspect: (targets, call) =>
      guarded(call, reads('inspect workers'), async () => {
        const ids = targets.map(({ id }) => id)
        return observer.observe(await workers.find(ids, tags, call.signal), tags, call)
      }),

    watch: (query, call) =>
      guardedStream(call, reads('watch the workers'), () => watchWorkers({ cluster, removed: asked.has, ends }, query, call)),

    logs: ({ id }, options, call) =>
      guardedStream(call, reads('read the log'), () => readLogs(cluster, { id, options, check: checkOwn }, call)),

    exec: ({ id }, command, call) =>
      guarded(call, changes('start the command'), async () => {
        const pod = podNameOf(await running(id, call))
        if (command.tty !== undefined) return terminals.open(pod, { ...command, tty: command.tty }, call)
        return runnerOf(cluster, pod).exec(command, call.signal)
      }),

    execState: ({ id }, exec, call) =>
      guarded(call, reads('ask for the command'), async () => {
        const pod = podNameOf(await running(id, call))
        if (terminals.has(exec)) return { state: 'running' }
        return runnerOf(cluster, pod).state(exec, call.signal)
      }),

    execKill: ({ id }, { id: exec, signal: name }, call) =>
      guarded(call, changes('end the command'), async () => {
        const pod = podNameOf(await running(id, call))
        if (await terminals.kill(exec, name, call.signal)) return
        await runnerOf(cluster, pod).kill(exec, name, call.signal)
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

    mark: ({ id, handle }, { leased }, call) =>
      guarded(call, changes('mark the worker'), async () => {
        const known = isMarkedBy(handle)
        if (known === false) return
        const found = known === undefined ? await workers.read(id, call.signal) : undefined
        if (known === undefined && (found === undefined || !isMarked(found.metadata))) return
        if (found !== undefined) checkOwn(found)
        const uid = uidOf(handle) ?? found?.metadata.uid
        if (uid !== undefined) await workers.mark(id, { uid, leased, signal: call.signal })
      }),

    stats: (query, call) => guardedStream(call, reads('measure the workers'), () => sampleWorkers({ cluster }, query, call)),

    headroom: (call) =>
      guarded(call, reads('ask for headroom'), async () => {
        const [quotas, seen] = await Promise.all([cluster.listQuotas(call.signal), cluster.listNodes(call.signal)])
        return headroomOf(quotas, seen)
      }),
  }
}

/** So many workers that were ended are remembered: more than a namespace has Pods at once. */
const REMEMBERED = 10_000

interface Recent<T> {
  set(id: WorkerId, value: T): void
  get(id: WorkerId): T | undefined
  has(id: WorkerId): boolean
}

/** The last ones. */
function createRecent<T>(most: number): Recent<T> {
  const held = new Map<WorkerId, T>()
  return {
    set(id, value) {
      held.set(id, value)
      const [oldest] = held.keys()
      if (held.size > most && oldest !== undefined) held.delete(oldest)
    },
    get: (id) => held.get(id),
    has: (id) => held.has(id),
  }
}

/** All pages of a walk are of the state at its beginning, whose time goes along in the cursor. */
function placeOf(cursor: string): { asOf: number; rest: string } {
  const [, asOf, rest] = /^(\d+)\.(.+)$/s.exec(cursor) ?? []
  if (asOf === undefined || rest === undefined)
    throw new ProviderError('invalid-spec', 'the cursor is none of a list', { effect: 'none', path: 'cursor' })
  return { asOf: Number(asOf), rest }
}
