/** Watches the Jobs of workers and their Pods, as one. */
import type { ListQuery, WorkerId } from '@muster/core'
import { type ApiCall, calls } from '../api/calls.ts'
import { createReflector, type Reflector } from '../api/reflector.ts'
import { raceAbort } from '@muster/provider-parts/waiting'
import { briefOf, briefOfJob } from './brief.ts'
import type { Objects } from '../cluster-objects.ts'
import { hasBegun, isFinished, workerOfJob, workerOfPod } from './job-view.ts'
import { ownerSelector } from '../labels.ts'
import type { Job, Pod } from '../objects.ts'
import type { Followed, FollowOptions, WorkerChange } from '../workers.ts'

export type Guesses = Map<WorkerId, { name: string; uid: string }>

interface What {
  query: Pick<ListQuery, 'tags'>
  /** Kept up to date while it is followed. */
  guesses: Guesses
}

export function followJobs({ namespace, client }: Objects, { query, guesses }: What, options: FollowOptions): Followed {
  const what = (list: ApiCall, call: ApiCall): Parameters<typeof createReflector>[1] => ({
    ...{ list, call, place: { namespace }, labelSelector: ownerSelector(query.tags) },
  })
  const pods = createReflector<Pod>(client.requests, what(calls.listPods, calls.watchPods), { pick: briefOf, ...options })
  const jobs = createReflector<Job>(client.requests, what(calls.listJobs, calls.watchJobs), { pick: briefOfJob, ...options })
  const over = new AbortController()
  const guessing = keepGuesses(pods, guesses, over.signal)

  async function* changesOfPods(signal: AbortSignal): AsyncGenerator<WorkerChange> {
    for await (const { type, object } of pods.changes(signal))
      yield { type, object: workerOfPod(object), uid: object.metadata.uid ?? '' }
  }

  async function* changesOfJobs(signal: AbortSignal): AsyncGenerator<WorkerChange> {
    // One that has a Pod is told by that.
    await pods.synced(signal)
    for await (const { type, object } of jobs.changes(signal)) {
      const change = { object: workerOfJob(object), uid: object.metadata.uid ?? '' }
      if (type === 'gone') yield { type, ...change }
      else if (guesses.has(object.metadata.name)) continue
      else if (!hasBegun(object)) yield { type: 'set', ...change }
      // What became of its Pod is to be asked: the two watches are not at the same time.
      else if (isFinished(object)) yield { ...change, type: 'gone', uid: '' }
    }
  }

  return {
    async synced(signal) {
      await Promise.all([pods.synced(signal), jobs.synced(signal)])
    },
    changes: (signal) => merged([changesOfPods, changesOfJobs], signal),
    async stop() {
      over.abort()
      await Promise.all([pods.stop(), jobs.stop(), guessing])
    },
  }
}

/** Beside whoever takes the changes, who may be slow. Never rejects. */
async function keepGuesses(pods: Reflector<Pod>, guesses: Guesses, signal: AbortSignal): Promise<void> {
  // What an earlier watch has not seen the end of.
  guesses.clear()
  try {
    for await (const { type, object } of pods.changes(signal)) {
      const { name } = workerOfPod(object).metadata
      const { uid = '' } = object.metadata
      const known = guesses.get(name)?.uid
      // One that somebody has a second one made beside is the worker as long as it is there.
      if (type === 'set' && (known ?? uid) === uid) guesses.set(name, { name: object.metadata.name, uid })
      else if (type === 'gone' && known === uid) guesses.delete(name)
    }
  } catch {
    // Over.
  }
}

/** What comes of several, as it comes; the first that fails ends all. */
async function* merged<T>(
  sources: readonly ((signal: AbortSignal) => AsyncGenerator<T>)[],
  signal: AbortSignal,
): AsyncGenerator<T> {
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  const take = (source: AsyncGenerator<T>): Promise<{ source: AsyncGenerator<T>; next: IteratorResult<T> }> => {
    const taken = source.next().then((next) => ({ source, next }))
    taken.catch(() => undefined)
    return taken
  }
  const waiting = new Map(sources.map((open) => open(either)).map((source) => [source, take(source)]))
  try {
    while (waiting.size > 0) {
      const { source, next } = await raceAbort(Promise.race(waiting.values()), signal)
      if (next.done === true) waiting.delete(source)
      else {
        waiting.set(source, take(source))
        yield next.value
      }
    }
  } finally {
    over.abort()
  }
}
