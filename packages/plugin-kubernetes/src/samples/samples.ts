/**
 * What workers use, told by a shell in each of them. The metrics API of a cluster has rates and no sums, and a kubelet's own figures need
 * `nodes/proxy`, a right that reaches into every Pod of a node: one exec for each worker needs no right that is not there already.
 */
import type { Call, ListQuery, StatsQuery, WorkerId, WorkerStats } from '@muster/core'
import { ApiFailure } from '../api/failure.ts'
import { readLines } from '../api/lines.ts'
import { createReflector } from '../api/reflector.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { createBackOff } from '../api/back-off.ts'
import { calls } from '../api/calls.ts'
import { type Asking, type AskingLimits, createAsking } from './asking.ts'
import { briefOf } from '../workers/brief.ts'
import type { Cluster } from '../client.ts'
import { asProviderError, reads } from '../errors.ts'
import { rawExecOf } from '../inside/exec.ts'
import { createInput } from '../inside/input.ts'
import { ownerSelector, tagsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { phaseOf } from '../workers/observe.ts'
import { stdoutOf } from '../inside/plain.ts'
import { workerContainer } from '../translate.ts'
import { tellUsage, usageOf } from './usage.ts'

/** A kernel's longest line is one of memory.stat. */
const LINE_BYTES = 4096
/** A machine of a thousand disks and devices has so many. */
const SAMPLE_LINES = 4096

/** Each open one costs the API server, a kubelet and us a connection and some buffers; the others wait their turn. */
const OPEN = 200
/** Few enough to go unseen among the requests of a namespace, many enough that thousands of workers are all asked within minutes. */
const TRIED = 8
/** A kubelet that begins, or a network that fails over, needs seconds; of one that gives none at all a try in five minutes costs nothing. */
const FIRST_MS = 1_000
const MOST_MS = 300_000
/** For whom others wait gives its connection away after so many samples: to open one costs more than a sample. */
const SAMPLES_A_TURN = 5

const SAMPLING: AskingLimits = { open: OPEN, tried: TRIED, firstMs: FIRST_MS, mostMs: MOST_MS }

/** The last sample of each worker that nobody has taken yet: a slow taker holds no more than one a worker. */
interface Ready {
  give(sample: WorkerStats): void
  next(): Promise<WorkerStats>
}

/** Of all workers with these tags that run, until the call ends. */
export async function* sampleWorkers(
  { cluster, limits = SAMPLING }: { cluster: Cluster; limits?: AskingLimits },
  query: StatsQuery,
  call: Call,
): AsyncGenerator<WorkerStats> {
  const stop = new AbortController()
  const signal = AbortSignal.any([call.signal, stop.signal])
  const ready = createReady()
  const asking = createAsking(limits)
  const followed = new Map<string, Followed>()
  const pods = reflectorOf(cluster, query, call)

  function follow(pod: Pod, id: WorkerId): void {
    const over = new AbortController()
    followed.set(pod.metadata.uid ?? '', { over, restarts: restartsOf(pod) })
    const node = pod.spec.nodeName ?? ''
    const parts = { cluster, limits, asking, id, pod: pod.metadata.name, node, everyMs: query.everyMs, give: ready.give }
    void followWorker(parts, { ...call, signal: AbortSignal.any([signal, over.signal]) })
  }

  async function watch(): Promise<never> {
    for await (const { type, object } of pods.changes(signal)) {
      const id = tagsOf(cluster.workers.of(object).metadata)?.['muster-worker']
      const uid = object.metadata.uid ?? ''
      if (id === undefined) continue
      const before = followed.get(uid)
      if (type !== 'set' || phaseOf(object, cluster.now()) !== 'running') {
        before?.over.abort()
        // What is gone for good is not remembered; one that stops would be followed anew.
        if (type !== 'set') followed.delete(uid)
      } else if (before?.restarts !== restartsOf(object)) {
        // What could not be asked before may be able to now.
        before?.over.abort()
        follow(object, id)
      }
    }
    throw new ApiFailure('the watch of the workers has ended', { code: 'LOST', sent: true })
  }

  const watching = watch()
  watching.catch(() => undefined)
  try {
    for (;;) yield await raceAbort(Promise.race([ready.next(), watching]), signal)
  } finally {
    stop.abort()
    await pods.stop()
  }
}

interface Followed {
  over: AbortController
  /** Of the worker's container, when its samples were begun. */
  restarts: number
}

function restartsOf({ status }: Pod): number {
  return status?.containerStatuses?.find(({ name }) => name === workerContainer)?.restartCount ?? 0
}

function reflectorOf(
  { client, namespace }: Cluster,
  { tags }: Pick<ListQuery, 'tags'>,
  { log }: Call,
): ReturnType<typeof createReflector<Pod>> {
  const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: ownerSelector(tags) }
  return createReflector<Pod>(client.requests, what, {
    pick: briefOf,
    onFailure: (error) => log.debug('the watch for samples is opened again', { reason: error.message }),
  })
}

interface Following {
  cluster: Cluster
  limits: AskingLimits
  asking: Asking
  id: WorkerId
  pod: string
  node: string
  everyMs: number
  give(sample: WorkerStats): void
}

/** One worker's samples, until its signal aborts. Never rejects: a worker without samples is no trouble of the others. */
async function followWorker(parts: Following, call: Call): Promise<void> {
  const { limits, everyMs, id } = parts
  const backOff = createBackOff(limits)
  const { signal } = call
  try {
    for (;;) {
      const end = await askWorker(parts, call, backOff.reset)
      if (end === 'none') return
      if (end === 'turn') await pause(everyMs, signal)
      else {
        call.log.debug('the samples of a worker broke off', { worker: id, reason: end.message })
        await pause(backOff.next(), signal)
      }
    }
  } catch {
    // Given up.
  }
}

/**
 * Asks for samples over one connection. Resolves with why it ended: `none`, there will be none until its container begins anew; `turn`, others
 * wait for a connection. Rejects when it is given up.
 */
async function askWorker(parts: Following, call: Call, onSample: () => void): Promise<'none' | 'turn' | Error> {
  const { asking, node } = parts
  const turn = await asking.begin(node, call.signal)
  try {
    const seen = (): void => {
      turn.answered()
      onSample()
    }
    return await tell(parts, call, seen)
  } catch (error) {
    call.signal.throwIfAborted()
    const judged = asProviderError(error, call, reads('measure it'))
    // Without a shell it stays so.
    if (judged.code === 'unsupported') {
      turn.answered()
      return 'none'
    }
    // What is the worker's own, as that it has ended, says nothing of its node.
    if (judged.code !== 'not-found' && judged.code !== 'conflict') turn.refused()
    return judged
  } finally {
    turn.end()
  }
}

/** Asks for one sample after the other. Resolves when what tells them has ended by itself, or says no samples, or when it is another one's turn. */
async function tell(
  { cluster, asking, id, pod, everyMs, give }: Following,
  call: Call,
  onSample: () => void,
): Promise<'none' | 'turn'> {
  const input = createInput()
  const over = new AbortController()
  const signal = AbortSignal.any([call.signal, over.signal])
  try {
    const argv = ['/bin/sh', '-c', tellUsage]
    const session = await rawExecOf(cluster, pod)({ argv, stdin: input.bytes, signal })
    session.exit.catch(() => undefined)
    input.push('\n')
    const lines: string[] = []
    let samples = 0
    for await (const { bytes } of readLines(
      stdoutOf(session, () => undefined),
      LINE_BYTES,
    )) {
      if (bytes.toString() !== '.') {
        if (lines.push(bytes.toString()) > SAMPLE_LINES) return 'none'
        continue
      }
      const stats = usageOf(lines.splice(0), { id, at: new Date(call.now()).toISOString() })
      // Without these files it stays so.
      if (stats === undefined) return 'none'
      give(stats)
      onSample()
      if (++samples >= SAMPLES_A_TURN && asking.wanted()) return 'turn'
      await pause(everyMs, signal)
      input.push('\n')
    }
    await session.exit
    return 'none'
  } finally {
    input.end()
    over.abort()
  }
}

function createReady(): Ready {
  const ready = new Map<WorkerId, WorkerStats>()
  let wake: () => void = () => undefined
  return {
    give(sample) {
      ready.set(sample.id, sample)
      wake()
    },
    async next() {
      for (;;) {
        const [first] = ready
        if (first !== undefined) {
          ready.delete(first[0])
          return first[1]
        }
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}
