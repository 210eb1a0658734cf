/**
 * Whether the process of a provider still answers, whatever its calls do. Its wire is asked to describe itself, now and then: no code of the
 * author answers that, so a launch of minutes is no silence, and only a process whose event loop stands is silent. Nothing is ended here: that
 * is done by the deadlines of calls.
 */
import type { PluginConnection } from '@muster/core'
import type { CallWitness, OpenCall, ProviderStatus } from './api.ts'

export interface PulseTimes {
  everyMs: number
  silentMs: number
}

const second = 1000
export const pulseTimes: PulseTimes = {
  /** One small message; a silence is seen after this, and no one waits longer for the truth than for a list. */
  everyMs: 5 * second,
  /**
   * It is told as a trouble after this. A process that is short of the processor, collects its garbage or loads its SDK stands for seconds,
   * not for this long; the connection itself gives up on one that leaves an aborted call open after twice as much.
   */
  silentMs: 15 * second,
}

export interface Pulse {
  /** Asks until the signal aborts. */
  watch(connection: Pick<PluginConnection, 'describe'>, over: AbortSignal): void
  /** The same witness, and what it saw begin is known here until it ends. */
  seeing(witness: CallWitness): CallWitness
  status(): Pick<ProviderStatus, 'oldestCall' | 'silentSince'>
  /** Questions of its own that are open. */
  readonly asking: number
}

export interface PulseDeps {
  now(): number
  times: PulseTimes
  /** It has been silent for `silentMs`, once for each silence; or it answers again after that. */
  tell(why: { reason: string; hint?: string }): void
  /** It answers again: find out how it does. */
  look(): void
}

export function openPulse({ now, times, tell, look: probe }: PulseDeps): Pulse {
  const open = new Set<OpenCall>()
  let asked: { at: number; waitedMs: number } | undefined

  function watch(connection: Pick<PluginConnection, 'describe'>, over: AbortSignal): void {
    const look = setInterval(() => {
      if (asked === undefined) return ask()
      // By looks, not by the clock: while this process stood still too, nobody was silent.
      const before = asked.waitedMs
      asked.waitedMs += times.everyMs
      if (before < times.silentMs && asked.waitedMs >= times.silentMs) tell(whyOf(asked.at))
    }, times.everyMs)
    look.unref()

    function ask(): void {
      const mine = { at: now(), waitedMs: 0 }
      asked = mine
      const answered = (): void => {
        if (asked !== mine) return
        asked = undefined
        if (mine.waitedMs < times.silentMs || over.aborted) return
        tell({ reason: 'it was silent, answers again, and is probed' })
        probe()
      }
      // Its answer counts whenever it comes. A connection that ends has a reason of its own.
      connection.describe({ deadlineMs: Number.POSITIVE_INFINITY, signal: over }).then(answered, answered)
    }

    const end = (): void => {
      clearInterval(look)
      asked = undefined
    }
    if (over.aborted) end()
    else over.addEventListener('abort', end, { once: true })
  }

  return {
    watch,
    seeing: (witness) => (call) => {
      const told = witness(call)
      if (call.stream) return told
      const mine = { method: call.method, since: now() }
      open.add(mine)
      return {
        ...told,
        end(code) {
          open.delete(mine)
          told.end(code)
        },
      }
    },
    status() {
      const oldestCall = open.values().next().value
      return {
        ...(oldestCall === undefined ? {} : { oldestCall }),
        ...(asked === undefined || asked.waitedMs === 0 ? {} : { silentSince: asked.at }),
      }
    },
    get asking() {
      return asked === undefined ? 0 : 1
    },
  }
}

function whyOf(since: number): { reason: string; hint: string } {
  return {
    reason: `its process answers nothing since ${new Date(since).toISOString()}, not even the host's own question`,
    hint: 'it is started anew once a call is left without an answer past its deadline',
  }
}
