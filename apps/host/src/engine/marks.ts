/**
 * Tells providers that want to know it which of their workers somebody holds. A hint: nobody waits for it, nothing is stored of it, and what
 * fails is said again a few times, then with the next change only.
 */
import { toProviderError } from '@muster/core'
import { askedPause, fullJitter, providerBackoff } from './backoff.ts'
import type { Context } from './context.ts'
import type { LiveWorker } from './model.ts'

/** Open at once at one provider: after a start all of its workers are told of, and launches come first. */
const MOST_OPEN = 4
/** Some minutes in all: a vendor that is away for longer hears of the next change. */
const TRIES = 5

interface Told {
  /** What the provider knows: until it is told otherwise, a worker is held. Undefined: what it was told is not known. */
  leased: boolean | undefined
  failures: number
  /** It is being told. */
  busy: boolean
}

interface Lane {
  /** Those that are held go first: they have more to lose. */
  held: Set<string>
  idle: Set<string>
  open: number
}

export function followHolders(context: Context): void {
  const { state, plugins, clock } = context
  const told = new Map<string, Told>()
  const lanes = new Map<string, Lane>()

  state.onWorker((now, before) => {
    if (now.ended_at !== null) {
      told.delete(now.id)
      leave(lanes.get(now.provider), now.id)
    } else if (isHandedOut(now) && before?.phase !== now.phase) changed(now, before === undefined)
  })

  /** `found`: it is of before this start. */
  function changed({ id, provider }: LiveWorker, found: boolean): void {
    const known = told.get(id) ?? { leased: found ? undefined : true, failures: 0, busy: false }
    told.set(id, { ...known, failures: 0 })
    // Those of before are known before their providers are.
    queueMicrotask(() => enter(provider, id))
  }

  function enter(name: string, id: string): void {
    const provider = plugins.find(name, id)
    if (provider?.capabilities.mark !== true || context.stopping.aborted) return
    const lane = lanes.get(name) ?? { held: new Set(), idle: new Set(), open: 0 }
    lanes.set(name, lane)
    leave(lane, id)
    lane[state.workers.get(id)?.phase === 'leased' ? 'held' : 'idle'].add(id)
    pump(lane)
  }

  function pump(lane: Lane): void {
    for (const queue of [lane.held, lane.idle])
      for (const id of queue) {
        if (lane.open >= MOST_OPEN || context.stopping.aborted) return
        queue.delete(id)
        const worker = state.workers.get(id)
        const known = told.get(id)
        if (worker === undefined || known === undefined || known.busy || !isHandedOut(worker)) continue
        const leased = worker.phase === 'leased'
        if (known.leased === leased) continue
        told.set(id, { ...known, busy: true })
        lane.open += 1
        void tell(worker, leased).finally(() => {
          lane.open -= 1
          pump(lane)
        })
      }
  }

  async function tell({ id, provider: name, handle }: LiveWorker, leased: boolean): Promise<void> {
    const target = { id, ...(handle === null ? {} : { handle: JSON.parse(handle) as { v: number; data: unknown } }) }
    try {
      const provider = plugins.find(name, id)
      if (provider === undefined) return void told.delete(id)
      await provider.mark(target, { leased }, { idempotencyKey: `${id}:mark:${String(leased)}`, signal: context.stopping })
      settle(id, { leased, failures: 0 })
      enter(name, id)
    } catch (thrown) {
      const failures = (told.get(id)?.failures ?? 0) + 1
      // Which of the two it knows now is not known. A change is told at once.
      settle(id, { leased: undefined, failures })
      if (context.stopping.aborted || failures >= TRIES) return
      const pause = askedPause(toProviderError(thrown), fullJitter(providerBackoff, failures, clock.random()))
      clock.after(pause, () => enter(name, id))
    }
  }

  function settle(id: string, now: Omit<Told, 'busy'>): void {
    if (told.has(id)) told.set(id, { ...now, busy: false })
  }
}

const isHandedOut = ({ phase }: LiveWorker): boolean => phase === 'idle' || phase === 'leased'

function leave(lane: Lane | undefined, id: string): void {
  lane?.held.delete(id)
  lane?.idle.delete(id)
}
