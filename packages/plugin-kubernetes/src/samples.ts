/**
 * What workers use, told by a shell in each of them. The metrics API of a cluster has rates and no sums, and a kubelet's own figures need
 * `nodes/proxy`, a right that reaches into every Pod of a node: one exec for each worker needs no right that is not there already.
 */
import type { Call, ListQuery, StatsQuery, WorkerId, WorkerStats } from '@muster/core'
import { ApiFailure } from './api/failure.ts'
import { readLines } from './api/lines.ts'
import { createReflector } from './api/reflector.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { createBackOff } from './api/back-off.ts'
import { calls } from './api/calls.ts'
import type { Cluster } from './client.ts'
import { asProviderError, reads } from './errors.ts'
import { rawExecOf } from './exec.ts'
import { createInput } from './input.ts'
import { ownerSelector, tagsOf } from './labels.ts'
import type { Pod } from './objects.ts'
import { phaseOf } from './observe.ts'
import { stdoutOf } from './plain.ts'
import { tellUsage, usageOf } from './usage.ts'

/** A kernel's longest line is one of memory.stat. */
const LINE_BYTES = 4096
/** A machine of a thousand disks and devices has so many. */
const SAMPLE_LINES = 4096

/** The last sample of each worker that nobody has taken yet: a slow taker holds no more than one a worker. */
interface Ready {
  give(sample: WorkerStats): void
  next(): Promise<WorkerStats>
}

/** Of all workers with these tags that run, until the call ends. */
export async function* sampleWorkers(cluster: Cluster, query: StatsQuery, call: Call): AsyncGenerator<WorkerStats> {
  const stop = new AbortController()
  const signal = AbortSignal.any([call.signal, stop.signal])
  const ready = createReady()
  const followed = new Map<string, AbortController>()
  const pods = reflectorOf(cluster, query, call)

  function follow(id: WorkerId, uid: string): void {
    const mine = new AbortController()
    followed.set(uid, mine)
    void followWorker(
      { cluster, id, everyMs: query.everyMs, give: ready.give },
      { ...call, signal: AbortSignal.any([signal, mine.signal]) },
    )
  }

  async function watch(): Promise<never> {
    for await (const { type, object } of pods.changes(signal)) {
      const id = tagsOf(object.metadata)?.['muster-worker']
      const uid = object.metadata.uid ?? ''
      if (id === undefined) continue
      if (type !== 'set' || phaseOf(object, cluster.now()) !== 'running') {
        followed.get(uid)?.abort()
        // What is gone for good is not remembered; one that stops would be followed anew.
        if (type !== 'set') followed.delete(uid)
      } else if (!followed.has(uid)) follow(id, uid)
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

function reflectorOf(
  { client, namespace }: Cluster,
  { tags }: Pick<ListQuery, 'tags'>,
  { log }: Call,
): ReturnType<typeof createReflector<Pod>> {
  const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: ownerSelector(tags) }
  return createReflector<Pod>(client.requests, what, {
    onFailure: (error) => log.debug('the watch for samples is opened again', { reason: error.message }),
  })
}

interface Following {
  cluster: Cluster
  id: WorkerId
  everyMs: number
  give(sample: WorkerStats): void
}

/** One worker's samples, until its signal aborts. Never rejects: a worker without samples is no trouble of the others. */
async function followWorker(parts: Following, call: Call): Promise<void> {
  const backOff = createBackOff()
  try {
    for (;;) {
      const reason = await tell(parts, call, () => backOff.reset()).catch((error: unknown) =>
        asProviderError(error, call, reads('measure it')),
      )
      if (call.signal.aborted) return
      call.log.debug('the samples of a worker broke off', { worker: parts.id, reason: reason?.message })
      // Without a shell, or without these files, it stays so.
      if (reason === undefined || reason.code === 'unsupported') return
      await pause(backOff.next(), call.signal)
    }
  } catch {
    // Given up.
  }
}

/** Asks for one sample after the other. Resolves when what tells them has ended by itself. */
async function tell({ cluster, id, everyMs, give }: Following, call: Call, onSample: () => void): Promise<undefined> {
  const input = createInput()
  const over = new AbortController()
  const signal = AbortSignal.any([call.signal, over.signal])
  try {
    const argv = ['/bin/sh', '-c', tellUsage]
    const session = await rawExecOf(cluster, id)({ argv, stdin: input.bytes, signal })
    session.exit.catch(() => undefined)
    input.push('\n')
    const lines: string[] = []
    for await (const { bytes } of readLines(
      stdoutOf(session, () => undefined),
      LINE_BYTES,
    )) {
      if (bytes.toString() !== '.') {
        if (lines.push(bytes.toString()) > SAMPLE_LINES) return undefined
        continue
      }
      const stats = usageOf(lines.splice(0), { id, at: new Date(call.now()).toISOString() })
      if (stats === undefined) return undefined
      give(stats)
      onSample()
      await pause(everyMs, signal)
      input.push('\n')
    }
    await session.exit
    return undefined
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
