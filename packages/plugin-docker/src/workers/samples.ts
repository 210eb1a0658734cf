/**
 * What workers use. An engine samples a container once a second for whoever holds its stream of samples open, and says nothing of it after its
 * end: one stream for each worker is cheaper than one question for each sample, and what it told last is all that is known of the peak.
 */
import type { Call, StatsQuery, WorkerId, WorkerStats } from '@muster/core'
import { type ContainerStats, toFailure } from '../client.ts'
import type { Containers } from './containers.ts'
import { listRows } from './rows.ts'
import { EngineFailure, isGone, isStatus } from '../errors.ts'
import { containerName, containerPath, ownerFilter, tagsOf } from '../labels.ts'
import { jsonLines } from '../engine/lines.ts'
import { statsOf } from '../translate.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import type { EngineEvent } from './watch.ts'

export interface Sampler {
  /** Of all workers with these tags that run, until the call ends. */
  samples(query: StatsQuery, call: Call): AsyncGenerator<WorkerStats>
  /** The most memory that was seen of a worker; undefined: nobody looked. */
  peakOf(id: WorkerId): number | undefined
  /** It is gone. */
  forget(id: WorkerId): void
}

/** Where a stream broke off although its worker runs: doubled with each time that it tells nothing. */
const AGAIN_MS = 1000
const AGAIN_MOST_MS = 30_000
/** An engine's second is not ours to the millisecond: a sample that comes so much too early is in time. */
const EARLY_MS = 300

/** Of workers that somebody else removes nobody tells; who was not sampled for longest goes first. More do not run on one engine. */
const MOST_PEAKS = 10_000

export function createSampler(containers: Containers): Sampler {
  const { engine } = containers
  const peaks = new Map<WorkerId, number>()

  /** One worker's samples, until it ends. */
  async function follow(id: WorkerId, due: Due, signal: AbortSignal): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        const path = `${containerPath(id)}/stats`
        const reply = await engine.stream({ method: 'GET', path, query: { stream: true }, signal })
        try {
          for await (const sample of jsonLines<ContainerStats>(reply)) {
            const stats = statsOf(id, sample)
            // Of one that has ended an engine goes on to tell nothing, once a second.
            if (stats === undefined) return
            failures = 0
            const told = withPeakOf(stats)
            if (told !== undefined) due.add(told)
          }
        } finally {
          reply.destroy()
        }
      } catch (error) {
        if (signal.aborted || isGone(error) || isStatus(error, 409)) return
      }
      await pause(Math.min(AGAIN_MOST_MS, AGAIN_MS * 2 ** failures), signal)
      if (!(await mayRun(id, signal))) return
    }
  }

  /** An engine that does not say is asked for samples all the same. */
  async function mayRun(id: WorkerId, signal: AbortSignal): Promise<boolean> {
    try {
      return (await containers.find(id, signal))?.container.State.Running === true
    } catch {
      return !signal.aborted
    }
  }

  /** With the most memory that was seen of it; undefined: what is counted of it is taken down already, or not yet there. */
  function withPeakOf(stats: WorkerStats): WorkerStats | undefined {
    const known = peaks.get(stats.id)
    if (stats.memoryPeakBytes === undefined) return known === undefined ? stats : undefined
    const peak = Math.max(known ?? 0, stats.memoryPeakBytes)
    peaks.delete(stats.id)
    peaks.set(stats.id, peak)
    const [oldest] = peaks.keys()
    if (peaks.size > MOST_PEAKS && oldest !== undefined) peaks.delete(oldest)
    return { ...stats, memoryPeakBytes: peak }
  }

  async function* samples({ tags, everyMs }: StatsQuery, call: Call): AsyncGenerator<WorkerStats> {
    const stop = new AbortController()
    const signal = AbortSignal.any([call.signal, stop.signal])
    const filters = { type: ['container'], event: ['start', 'die', 'destroy'], label: ownerFilter(tags) }
    const events = await engine.stream({ method: 'GET', path: '/events', query: { filters }, signal })
    const due = createDue(everyMs, () => call.now())
    const streams = new Map<WorkerId, AbortController>()

    function open(id: WorkerId): void {
      // One that was started again at once has its end and its start in one piece of the events.
      streams.get(id)?.abort()
      const mine = new AbortController()
      streams.set(id, mine)
      follow(id, due, AbortSignal.any([signal, mine.signal]))
        // What is no trouble of the engine's ends with the stream of events, which tells of it.
        .catch(() => undefined)
        .finally(() => {
          if (streams.get(id) !== mine) return
          due.end(id)
          streams.delete(id)
        })
    }

    const pump = (async () => {
      try {
        for await (const event of jsonLines<EngineEvent>(events)) {
          const id = workerOf(event)
          if (id === undefined) continue
          if (event.Action === 'start') open(id)
          else streams.get(id)?.abort()
        }
        due.fail(new EngineFailure('the engine ended its events', { code: 'ECONNRESET', sent: true }))
      } catch (error) {
        due.fail(toFailure(error))
      }
    })()
    try {
      for (const { id, state } of await listRows(engine, tags, signal)) if (state === 'running' || state === 'paused') open(id)
      for (;;) yield await raceAbort(due.next(), signal)
    } finally {
      stop.abort()
      events.destroy()
      await pump
    }
  }

  return { samples, peakOf: (id) => peaks.get(id), forget: (id) => void peaks.delete(id) }
}

function workerOf({ Actor: { Attributes: attributes } }: EngineEvent): WorkerId | undefined {
  const id = tagsOf(attributes)?.['muster-worker']
  return id !== undefined && attributes['name'] === containerName(id) ? id : undefined
}

/** The last sample of each worker, given on when its time has come: a slow taker holds no more than one a worker. */
interface Due {
  add(sample: WorkerStats): void
  /** No more will come of this worker: what is held back is due now. */
  end(id: WorkerId): void
  fail(error: Error): void
  next(): Promise<WorkerStats>
}

export function createDue(everyMs: number, now: () => number): Due {
  const ready = new Map<WorkerId, WorkerStats>()
  const held = new Map<WorkerId, WorkerStats>()
  const given = new Map<WorkerId, number>()
  let failure: Error | undefined
  let wake: (() => void) | undefined
  const give = (sample: WorkerStats): void => {
    held.delete(sample.id)
    ready.set(sample.id, sample)
    given.set(sample.id, now())
    wake?.()
  }
  return {
    add(sample) {
      const last = given.get(sample.id)
      if (last === undefined || now() - last >= everyMs - EARLY_MS) give(sample)
      else held.set(sample.id, sample)
    },
    end(id) {
      const last = held.get(id)
      if (last !== undefined) give(last)
      given.delete(id)
    },
    fail(error) {
      failure = error
      wake?.()
    },
    async next() {
      for (;;) {
        const [first] = ready
        if (first !== undefined) {
          ready.delete(first[0])
          return first[1]
        }
        if (failure !== undefined) throw failure
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}
