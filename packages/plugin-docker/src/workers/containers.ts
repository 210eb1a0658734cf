/** The containers of one provider of one owner, found by worker id; anybody else's are not there. */
import type { Call, Instant, OwnerTags, ProviderError, WorkerId, WorkerObservation } from '@muster/core'
import { type BegunAgain, begunAgain } from './again.ts'
import { type Belongings, createBelongings, orphansOf } from './belongings.ts'
import type { AgreedVersion, ContainerInspect, Engine } from '../client.ts'
import { inCall } from '../engine/current.ts'
import { abortError, EngineFailure, isEnding, isGone, isStatus, toDockerError } from '../errors.ts'
import { type EngineFacts, readFacts } from '../engine/facts.ts'
import { containerName, containerPath, isHolding, ownerFilter, tagsOf } from '../labels.ts'
import { exitBeside, killedBeside } from './killed-beside.ts'
import { killedForMemory } from './memory-kill.ts'
import type { Row } from './rows.ts'
import { giveNameBack } from './renamed.ts'
import {
  exitInDoubt,
  exitOf,
  exitUnheard,
  handleOf,
  instantOf,
  isDoubtful,
  observe,
  observedAgain,
  phaseOf,
  withPeak,
} from '../translate.ts'
import { wasResumed } from '../inside/run-folder.ts'
import { raceAbort } from '@muster/provider-parts/waiting'
import { mapWide } from './turns.ts'

export interface Found {
  container: ContainerInspect
  tags: OwnerTags
}

export interface Containers {
  readonly engine: Engine
  readonly belongings: Belongings
  readonly again: BegunAgain
  /** What the engine is; asked once, and again after the engine was away. */
  facts(signal: AbortSignal): Promise<EngineFacts>
  /** The worker's container; undefined when there is none of this owner and provider. One that was renamed is it too, unless `named`. */
  find(id: WorkerId, signal: AbortSignal, how?: { named: boolean }): Promise<Found | undefined>
  /** As `find`; one that is not there is a failure with status 404. */
  get(id: WorkerId, signal: AbortSignal): Promise<Found>
  /** Whatever container has the worker's name. */
  holder(id: WorkerId, signal: AbortSignal): Promise<ContainerInspect | undefined>
  /** Was it started again, and not as one that was suspended to disk? */
  beganAgain(id: WorkerId, container: ContainerInspect, signal: AbortSignal): Promise<boolean>
  /** Removes it with its volumes; `force`: kills it first, else one that runs is a failure. `busy`: another removal is under way. */
  remove(id: WorkerId, how: { force: boolean; signal: AbortSignal }): Promise<'gone' | 'busy'>
}

/** An engine answers within some 10 ms; on a machine under full load it was seen to take a second. */
const FACTS_TIMEOUT_MS = 10_000

export function createContainers(
  engine: Engine,
  owner: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>,
  again: BegunAgain = begunAgain(),
): Containers {
  let known: { agreed: AgreedVersion; facts: Promise<EngineFacts> } | undefined

  async function holder(id: WorkerId, signal: AbortSignal): Promise<ContainerInspect | undefined> {
    try {
      return await engine.json<ContainerInspect>({ method: 'GET', path: `${containerPath(id)}/json`, signal })
    } catch (error) {
      if (isGone(error)) return undefined
      throw error
    }
  }

  async function find(id: WorkerId, signal: AbortSignal, { named } = { named: false }): Promise<Found | undefined> {
    let container = await holder(id, signal)
    if (!named && container === undefined && (await giveNameBack(engine, { id, owner: ownerFilter(owner) }, signal)))
      container = await holder(id, signal)
    const tags = container === undefined ? undefined : tagsOf(container.Config.Labels)
    if (container === undefined || tags === undefined || tags['muster-worker'] !== id) return undefined
    const ours = tags['muster-owner'] === owner['muster-owner'] && tags['muster-provider'] === owner['muster-provider']
    return ours ? { container, tags } : undefined
  }

  return {
    engine,
    belongings: createBelongings(engine, owner),
    again,
    holder,
    find,
    async facts(signal) {
      const agreed = await engine.agreed(signal)
      if (known?.agreed !== agreed) {
        // Shared by all callers, so that no caller's end may end it.
        const asked = { agreed, facts: readFacts(engine, AbortSignal.timeout(FACTS_TIMEOUT_MS)) }
        asked.facts.catch(() => {
          if (known === asked) known = undefined
        })
        known = asked
      }
      return raceAbort(known.facts, signal)
    },
    async get(id, signal) {
      const found = await find(id, signal)
      if (found === undefined) throw new EngineFailure(`No such container: ${containerName(id)}`, { status: 404, sent: true })
      return found
    },
    async beganAgain(id, container, signal) {
      if (!again.has(id, container.State)) return false
      if (!(await wasResumed(container, { engine, id, signal }))) return true
      again.resumed(id, container.State)
      return false
    },
    async remove(id, { force, signal }) {
      try {
        await engine.json({ method: 'DELETE', path: containerPath(id), query: { force, v: true }, signal })
        again.forget(id)
        return 'gone'
      } catch (error) {
        if (isGone(error)) return 'gone'
        if (isEnding(error)) return 'busy'
        throw error
      }
    },
  }
}

/** Inspections at once: enough to hide their round trips, few enough for an engine to answer others meanwhile. */
const INSPECT_WIDTH = 8

export interface Observing {
  stopping: (id: WorkerId) => boolean
  /** The most memory that was seen of it. */
  peakOf?: (id: WorkerId) => number | undefined
  signal: AbortSignal
  closely?: true
}

/**
 * One page's observations. Only an ended worker needs a second question, and one that was started again: a list has no exit code.
 * `closely`: each is asked for, as when a second start may have been missed.
 */
export async function observeRows(rows: readonly Row[], containers: Containers, how: Observing): Promise<WorkerObservation[]> {
  return observeEach(rows, { containers, how }, async ({ id, tags, container, state }) => {
    const phase = phaseOf(state, how.stopping(id))
    const asks = how.closely === true || containers.again.known(id)
    if (asks || phase === 'exited' || phase === 'provisioning') return containers.find(id, how.signal)
    return { id, handle: handleOf(container), tags, phase, ready: phase === 'running' }
  })
}

/** Inspects many, in their order; the absent are left out. One whose container alone is gone is still there. */
export async function observeMany(
  ids: readonly WorkerId[],
  containers: Containers,
  how: Observing,
): Promise<WorkerObservation[]> {
  let left: Promise<Row[]> | undefined
  return observeEach(ids, { containers, how }, async (id) => {
    const found = await containers.find(id, how.signal)
    if (found !== undefined) return found
    left ??= containers.belongings.find(how.signal).then((parts) => orphansOf(parts, []))
    const row = (await left).find((candidate) => candidate.id === id)
    // It may have been launched between the two questions.
    const made = row === undefined ? undefined : await containers.find(id, how.signal)
    if (made !== undefined) return made
    return row === undefined
      ? undefined
      : { id, handle: handleOf(row.container), tags: row.tags, phase: 'stopping', ready: false }
  })
}

async function observeEach<T>(
  items: readonly T[],
  { containers, how }: { containers: Containers; how: Observing },
  look: (item: T) => Promise<Found | WorkerObservation | undefined>,
): Promise<WorkerObservation[]> {
  let startedAt: ReturnType<typeof engineStart> | undefined
  const started = (): ReturnType<typeof engineStart> => (startedAt ??= engineStart(containers.engine, how.signal))
  const observed = await mapWide(items, INSPECT_WIDTH, async (item) => {
    const seen = await lookAt(item)
    if (seen?.exit === undefined) return seen
    return { ...seen, exit: withPeak(seen.exit, how.peakOf?.(seen.id)) }
  })
  return observed.filter((observation) => observation !== undefined)

  async function lookAt(item: T): Promise<WorkerObservation | undefined> {
    const seen = await look(item)
    if (seen === undefined || 'phase' in seen) return seen
    const { container, tags } = seen
    const id = tags['muster-worker']
    const observation = observe(container, tags, how.stopping(id))
    if (observation.phase !== 'suspended' && (await containers.beganAgain(id, container, how.signal)))
      return observedAgain(observation, container.State)
    // One that we end was told so by us: that is its own end.
    const holds = isHolding(container) && !how.stopping(id)
    if (observation.exit === undefined) return observation
    if (!isDoubtful(observation.exit, holds))
      return isHolding(container) ? observation : { ...observation, exit: exitUnheard(observation.exit, await started()) }
    if (await killedForMemory(containers.engine, container, how.signal))
      return { ...observation, exit: exitOf({ ...container.State, OOMKilled: true }, container.HostConfig.Memory) }
    // Asked after it was seen, each time: an engine that stops ends its containers, and answers on old connections that it has.
    const exit = exitInDoubt(observation.exit, await engineStart(containers.engine, how.signal), holds)
    const signal = isDoubtful(exit, holds) ? await killedBeside(containers.engine, container, how.signal) : undefined
    return { ...observation, exit: signal === undefined ? exit : exitBeside(exit, signal) }
  }
}

/** When the engine started: it makes its bridge anew each time. Undefined where it has none. One that is about to stop does not say it. */
async function engineStart(engine: Engine, signal: AbortSignal): Promise<Instant | undefined> {
  try {
    const { Created } = await engine.json<{ Created: string }>({ method: 'GET', path: '/networks/bridge', afresh: true, signal })
    return instantOf(Created)
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  }
}

export interface Doing {
  /** Begins the message, as in "cannot <doing>: …". */
  doing: string
  mutates: boolean
  /** The path in the worker that it is about. */
  place?: string
}

/** The door: whatever is thrown becomes a ProviderError, and an abort says which of the two it was. */
export function asProviderError(thrown: unknown, call: Call, doing: Doing): ProviderError {
  const { signal } = call
  const timedOut = signal.aborted && signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
  const judgement = { ...doing, deadline: call.deadline, now: call.now(), timedOut }
  const given = call.signal.aborted && !(thrown instanceof Error && thrown.name === 'ProviderError')
  return given ? abortError(judgement) : toDockerError(thrown, judgement)
}

export async function guarded<T>(call: Call, doing: Doing, work: () => Promise<T>): Promise<T> {
  try {
    return await inCall(call, work)
  } catch (error) {
    throw asProviderError(error, call, doing)
  }
}

export async function* guardedStream<T>(call: Call, doing: Doing, work: () => AsyncIterable<T>): AsyncGenerator<T> {
  try {
    const items = work()[Symbol.asyncIterator]()
    try {
      // A generator goes on in the context of whoever asks for its next item.
      for (;;) {
        const next = await inCall(call, () => items.next())
        if (next.done === true) return
        yield next.value
      }
    } finally {
      await items.return?.()
    }
  } catch (error) {
    throw asProviderError(error, call, doing)
  }
}
