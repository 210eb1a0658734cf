/** Hints of change: an engine's events, each answered by a look at the worker it names. */
import type { Call, ListQuery, OwnerTags, WorkerId, WorkerObservation } from '@muster/core'
import { toFailure } from '../client.ts'
import { type Containers, observeMany, observeRows } from './containers.ts'
import { listRows } from './rows.ts'
import { EngineFailure } from '../errors.ts'
import { containerName, ownerFilter, tagsOf } from '../labels.ts'
import { jsonLines } from '../engine/lines.ts'
import { handleOf } from '../translate.ts'
import { raceAbort } from '@muster/provider-parts/waiting'

/** The part of an event that is used. */
export interface EngineEvent {
  Action: string
  Actor: { ID: string; Attributes: Record<string, string> }
  /** When, in nanoseconds; rounded the same way each time. */
  timeNano?: number
}

/** What changes an observation. */
const ACTIONS = ['create', 'start', 'die', 'oom', 'pause', 'unpause', 'kill', 'destroy']

export interface WatchParts {
  containers: Containers
  stopping(id: WorkerId): boolean
  peakOf(id: WorkerId): number | undefined
  /** Did we remove it ourselves? */
  removed(id: WorkerId): boolean
}

/**
 * First everything that is there, since what happened before is not told again; then every change. Several changes of one worker that
 * nobody has taken yet become one, so that a slow taker holds no more than one entry a worker.
 */
export async function* watchWorkers(parts: WatchParts, query: ListQuery, call: Call): AsyncGenerator<WorkerObservation> {
  const { containers, stopping, peakOf } = parts
  const { engine } = containers
  const stop = new AbortController()
  const signal = AbortSignal.any([call.signal, stop.signal])
  const filters = { type: ['container'], event: ACTIONS, label: ownerFilter(query.tags) }
  const events = await engine.stream({ method: 'GET', path: '/events', query: { filters }, signal })
  const changes = createChanges()
  const pump = (async () => {
    try {
      for await (const event of jsonLines<EngineEvent>(events)) {
        noteStart(event)
        changes.add(event)
      }
      changes.fail(new EngineFailure('the engine ended its events', { code: 'ECONNRESET', sent: true }))
    } catch (error) {
      changes.fail(toFailure(error))
    } finally {
      // It ends them only when it goes away.
      if (!signal.aborted) engine.doubt()
    }
  })()
  try {
    const rows = await listRows(engine, query.tags, signal)
    yield* await observeRows(rows, containers, { stopping, peakOf, signal, closely: true })
    for (;;) {
      const event = await raceAbort(changes.next(), signal)
      const observation = await look(event)
      if (observation !== undefined) yield observation
    }
  } finally {
    stop.abort()
    events.destroy()
    await pump
  }

  /** Also of one that has ended again before anybody looks. */
  function noteStart({ Action: action, Actor: actor, timeNano }: EngineEvent): void {
    const id = tagsOf(actor.Attributes)?.['muster-worker']
    if (action === 'start' && id !== undefined && timeNano !== undefined && actor.Attributes['name'] === containerName(id))
      containers.again.started(id, { container: actor.ID, timeNano })
  }

  async function look({ Action: action, Actor: actor }: EngineEvent): Promise<WorkerObservation | undefined> {
    const tags = tagsOf(actor.Attributes)
    if (tags === undefined || actor.Attributes['name'] !== containerName(tags['muster-worker'])) return undefined
    const id = tags['muster-worker']
    const [seen] = await observeMany([id], containers, { stopping, peakOf, signal })
    if (seen !== undefined) return seen
    return action === 'destroy' && !parts.removed(id) ? lost(tags, actor.ID) : undefined
  }
}

function lost(tags: OwnerTags, container: string): WorkerObservation {
  return { id: tags['muster-worker'], handle: handleOf(container), tags, phase: 'lost', ready: false }
}

interface Changes {
  add(event: EngineEvent): void
  fail(error: Error): void
  next(): Promise<EngineEvent>
}

/** The last event of each container, in the order of the first one that is still waiting. */
function createChanges(): Changes {
  const waiting = new Map<string, EngineEvent>()
  let failure: Error | undefined
  let wake: (() => void) | undefined
  return {
    add(event) {
      waiting.set(event.Actor.ID, event)
      wake?.()
    },
    fail(error) {
      failure = error
      wake?.()
    },
    async next() {
      for (;;) {
        const [first] = waiting
        if (first !== undefined) {
          waiting.delete(first[0])
          return first[1]
        }
        if (failure !== undefined) throw failure
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}
