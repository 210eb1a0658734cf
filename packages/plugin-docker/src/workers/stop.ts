/** Ends workers: with grace first, then by force; a grace that outlasts a call goes on without it. */
import type { Call, Terminated, TerminateHow, WorkerId } from '@muster/core'
import type { Containers, Found } from './containers.ts'
import { isEnding, isGone, isStatus } from '../errors.ts'
import { containerPath, label } from '../labels.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { type Turns } from './turns.ts'

export interface Stopper {
  terminate(id: WorkerId, how: TerminateHow, call: Call): Promise<Terminated>
  /** Is it being ended by this process? */
  stopping(id: WorkerId): boolean
  /** Was it removed by this process not long ago? */
  removed(id: WorkerId): boolean
}

/** Most programs end within a second of SIGTERM; a longer grace is not worth one of the host's open calls. */
const WAIT_IN_CALL_MS = 3_000
/** An abort needs no more than the answer's way back; so the call ends this long before its deadline. */
const ANSWER_MS = 500
/** After the grace: killing and unmounting takes a fraction of a second, on a busy machine some seconds. */
const REMOVE_TIMEOUT_MS = 60_000
/** Removals remembered, so that their events are not taken for losses; an event follows within a second. */
const REMEMBERED = 1_000

/** Beyond this a timer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

type Removing = Pick<Call, 'signal' | 'log'>

interface Stop {
  /** When the grace ends. */
  until: number
  done: Promise<Terminated>
  /** Shortens the grace. */
  hurry(ms: number): void
}

export function createStopper(containers: Containers, turns: Turns): Stopper {
  const stops = new Map<WorkerId, Stop>()
  const removals = new Set<WorkerId>()

  async function remove({ container, tags }: Found, { signal, log }: Removing): Promise<Terminated> {
    const id = tags['muster-worker']
    remember(id)
    if ((await containers.remove(id, { force: true, signal })) === 'busy') return { state: 'terminating' }
    return container.Config.Labels[label.parts] === undefined ? { state: 'gone' } : removeRest(id, { signal, log })
  }

  async function removeRest(id: WorkerId, { signal, log }: Removing): Promise<Terminated> {
    if ((await containers.belongings.remove(id, signal)) === 'busy') return { state: 'terminating' }
    // Of a pool's trouble a worker's end is not told, and does not wait for it.
    void containers.belongings.tidy(log)
    return { state: 'gone' }
  }

  function remember(id: WorkerId): void {
    removals.add(id)
    const [oldest] = removals
    if (removals.size > REMEMBERED && oldest !== undefined) removals.delete(oldest)
  }

  /** Sends the stop signal now, kills after the grace; nobody's call bounds it. */
  function begin(found: Found, graceMs: number, call: Call): Stop {
    const id = found.tags['muster-worker']
    const grace = new AbortController()
    let timer = setTimeout(() => grace.abort(), graceMs)
    const stop: Stop = {
      until: call.now() + graceMs,
      done: run().finally(() => {
        clearTimeout(timer)
        stops.delete(id)
      }),
      hurry(ms) {
        if (call.now() + ms >= stop.until) return
        stop.until = call.now() + ms
        clearTimeout(timer)
        timer = setTimeout(() => grace.abort(), ms)
      },
    }
    // A later call finds what is left and tries again.
    stop.done.catch((error: unknown) => call.log.warn('a stop did not end', { worker: id, error: String(error) }))
    stops.set(id, stop)
    return stop

    async function run(): Promise<Terminated> {
      await signalAndWait(found, grace.signal)
      return remove(found, { signal: AbortSignal.timeout(REMOVE_TIMEOUT_MS), log: call.log })
    }
  }

  async function signalAndWait({ container, tags }: Found, grace: AbortSignal): Promise<void> {
    const path = containerPath(tags['muster-worker'])
    const { engine } = containers
    try {
      const name = (container.Config as { StopSignal?: string }).StopSignal ?? 'SIGTERM'
      await engine.json({ method: 'POST', path: `${path}/kill`, query: { signal: name }, signal: grace })
      // A frozen worker hears the signal once it goes on; some engines see to that themselves, and then refuse.
      if (container.State.Paused) await engine.json({ method: 'POST', path: `${path}/unpause`, signal: grace }).catch(() => {})
      await engine.json({ method: 'POST', path: `${path}/wait`, query: { condition: 'not-running' }, signal: grace })
    } catch (error) {
      // Over with the grace, ended already, or gone.
      if (!grace.aborted && !isGone(error) && !isEnding(error) && !isStatus(error, 409)) throw error
    }
  }

  return {
    stopping: (id) => stops.has(id),
    removed: (id) => removals.has(id),
    async terminate(id, { graceMs, force }, call) {
      const { signal } = call
      // A launch under way in this process gives up first; what it has made is then there to be removed.
      turns.doom(id)
      const found = await turns.take(id, signal, async () => {
        // What bears its labels after its end is somebody's copy.
        const seen = await containers.find(id, signal, { named: removals.has(id) })
        const { Status: status, Running: running } = seen?.container.State ?? {}
        if (seen === undefined || status === 'removing') return seen
        // Whoever has the next turn finds it ending.
        if (force || graceMs <= 0 || running !== true) remember(id)
        else if (!stops.has(id)) begin(seen, Math.min(graceMs, MAX_TIMER_MS), call)
        return seen
      })
      if (found === undefined) return removeRest(id, call)
      const { Status: status, Running: running } = found.container.State
      if (status === 'removing') return { state: 'terminating' }
      const stop = force || graceMs <= 0 || !running ? undefined : stops.get(id)
      if (stop === undefined) return remove(found, call)
      stop.hurry(graceMs)
      const wait = Math.max(0, Math.min(WAIT_IN_CALL_MS, call.deadline - call.now() - ANSWER_MS))
      const still = pause(wait, signal).then(() => ({ state: 'terminating' as const, by: new Date(stop.until).toISOString() }))
      return raceAbort(Promise.race([stop.done, still]), signal)
    },
  }
}
