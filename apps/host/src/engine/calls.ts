/**
 * The mutating calls of each provider: what waits, what is open, what may have been done. Launches and terminates have places of their
 * own, so that neither keeps the other waiting.
 */
import type { GuardedProvider } from '../plugins/api.ts'
import { defectPauseMs } from './backoff.ts'
import { background, type Context } from './context.ts'
import { strandedBy } from './kept.ts'
import type { Memory } from './memory.ts'

export type CallKind = 'launch' | 'terminate'

export interface CallQueues {
  /** Puts a worker's call into its queue, now or after `delayMs`. A worker has at most one place in a queue. */
  put(provider: string, call: { kind: CallKind; id: string; delayMs?: number }): void
  /** Takes it out, if it waits; an open call is aborted. */
  withdraw(provider: string, call: { kind: CallKind; id: string }): void
  /** Looks again at what waits, as after a provider has come back. */
  pump(provider: string): void
  isOpen(id: string): boolean
  /** When the last call for it settled; null when this host made none. */
  settledAt(id: string): number | null
  /**
   * Until when a launch that was given up may still make the worker: that long after its end, by the declared lag. 0 when none was.
   * A worker is closed only after it, so that no late effect outlives its record.
   */
  lateUntil(id: string): number
  /** A launch of this worker was given up at this time, perhaps by the host before this one. */
  gaveUp(provider: string, id: string, at: number): void
  /** May a launch of this worker have had an effect? */
  inDoubt(id: string): boolean
  setDoubt(id: string, doubt: boolean): void
  forget(id: string): void
  /** Launches that wait or are open, and how many of one kind may be open. */
  backlog(provider: string): number
  places(provider: string): number
  /** Resolves when no call is open; those still open after `ms` are aborted. */
  drain(ms: number): Promise<void>
}

interface Lane {
  waiting: Set<string>
  delayed: Map<string, () => void>
  open: number
  timer: (() => void) | undefined
}

/** A call that was given up settles within a second, as the contract says; what it still set off shows after the declared lag. */
const SETTLE_MS = 1000

/** What says who can be asked for a worker. */
const owning = ['plugin_version', 'plugin_package', 'provider_config'] as const

/** Makes one call; resolves when its outcome is stored. */
export type MakeCall = (provider: GuardedProvider, id: string, signal: AbortSignal) => Promise<void>

export function callQueues(context: Context, memory: Memory, make: Record<CallKind, MakeCall>): CallQueues {
  const { clock, doubtful } = context
  const lanes = new Map<string, Lane>()
  const open = new Map<string, AbortController>()
  const settled = new Map<string, number>()
  const late = new Map<string, number>()
  let onIdle: (() => void)[] = []

  const laneOf = (provider: string, kind: CallKind): Lane => {
    const key = `${kind}/${provider}`
    const known = lanes.get(key)
    if (known !== undefined) return known
    const made: Lane = { waiting: new Set(), delayed: new Map(), open: 0, timer: undefined }
    lanes.set(key, made)
    return made
  }

  /** Half of what the plugin takes at once: the other half is for reads, streams and the other kind. */
  const places = (provider: string): number =>
    Math.max(1, Math.floor((context.plugins.find(provider)?.manifest.limits.inFlight ?? 2) / 2))

  function pump(name: string, kind: CallKind): void {
    const provider = context.plugins.find(name)
    // A kept version may answer where the one that runs does not.
    const kept = context.kept.has(name)
    if (provider === undefined || (!kept && !answers(provider))) return
    const lane = laneOf(name, kind)
    for (const id of lane.waiting) {
      if (lane.open >= places(name) || context.stopping.aborted) return
      if (open.has(id)) continue
      if (isStranded(id)) continue
      if (kept && !answers(context.plugins.find(name, id) ?? provider)) continue
      const held = memory.heldUntil(name, kind) - clock.now()
      if (held > 0) {
        lane.timer ??= clock.after(held, () => {
          lane.timer = undefined
          pump(name, kind)
        })
        return
      }
      lane.waiting.delete(id)
      start(provider, { kind, id })
    }
  }

  /** Whoever does not know it would call it gone: its call waits until it is known. */
  function isStranded(id: string): boolean {
    const worker = context.state.workers.get(id)
    return worker !== undefined && strandedBy(context, worker) !== undefined
  }

  function put(provider: string, { kind, id, delayMs = 0 }: { kind: CallKind; id: string; delayMs?: number }): void {
    const lane = laneOf(provider, kind)
    if (lane.waiting.has(id)) return
    lane.delayed.get(id)?.()
    lane.delayed.delete(id)
    const enter = (): void => {
      lane.delayed.delete(id)
      lane.waiting.add(id)
      pump(provider, kind)
    }
    if (delayMs > 0) lane.delayed.set(id, clock.after(delayMs, enter))
    else enter()
  }

  function start(provider: GuardedProvider, call: { kind: CallKind; id: string }): void {
    const { kind, id } = call
    const lane = laneOf(provider.name, kind)
    const control = new AbortController()
    open.set(id, control)
    lane.open += 1
    const done = (): void => {
      lane.open -= 1
      open.delete(id)
      settled.set(id, clock.now())
      if (!context.state.workers.has(id)) forget(id)
      if (open.size === 0) for (const resolve of onIdle.splice(0)) resolve()
      pump(provider.name, 'launch')
      pump(provider.name, 'terminate')
    }
    background(context, 'the outcome of a call could not be handled', async () => {
      try {
        await make[kind](provider, id, control.signal)
      } catch (error) {
        if (!context.stopping.aborted) put(provider.name, { kind, id, delayMs: defectPauseMs })
        throw error
      } finally {
        done()
      }
    })
  }

  function forget(id: string): void {
    if (open.has(id)) return
    settled.delete(id)
    doubtful.delete(id)
    late.delete(id)
  }

  context.state.onWorker((now, before) => {
    if (before === undefined) return
    if (owning.every((key) => before[key] === now[key])) return
    pump(now.provider, 'launch')
    pump(now.provider, 'terminate')
  })

  return {
    put,
    withdraw: (provider, { kind, id }) => {
      const lane = laneOf(provider, kind)
      lane.delayed.get(id)?.()
      lane.delayed.delete(id)
      lane.waiting.delete(id)
      open.get(id)?.abort()
    },
    pump: (provider) => {
      pump(provider, 'launch')
      pump(provider, 'terminate')
    },
    isOpen: (id) => open.has(id),
    settledAt: (id) => settled.get(id) ?? null,
    lateUntil: (id) => late.get(id) ?? 0,
    gaveUp: (provider, id, at) => {
      const until = at + (context.plugins.find(provider)?.capabilities.visibility.launchMs ?? 0) + SETTLE_MS
      late.set(id, Math.max(until, late.get(id) ?? 0))
    },
    inDoubt: (id) => doubtful.has(id),
    setDoubt: (id, doubt) => {
      if (doubt) doubtful.add(id)
      else doubtful.delete(id)
    },
    forget,
    backlog: (provider) => {
      const lane = laneOf(provider, 'launch')
      return lane.waiting.size + lane.delayed.size + lane.open
    },
    places,
    drain: async (ms) => {
      for (const lane of lanes.values()) {
        for (const cancel of lane.delayed.values()) cancel()
        lane.timer?.()
      }
      if (open.size === 0) return
      const idle = new Promise<void>((resolve) => onIdle.push(resolve))
      const cancel = clock.after(ms, () => {
        for (const control of open.values()) control.abort()
      })
      await idle
      cancel()
    },
  }
}

/** Is there a process to call? Otherwise calls wait for it instead of failing one by one. */
function answers(provider: GuardedProvider): boolean {
  const { state } = provider.status()
  return state === 'ready' || state === 'degraded'
}
