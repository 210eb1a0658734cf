/** How a plugin process does: asked by probe until it is ready, then again whenever a call has failed or it is not well. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Probe, ProviderError } from '@muster/core'
import { isVendors } from './blame.ts'
import type { PluginProcess } from './process.ts'
import type { Redactor } from './redactor.ts'
import type { SecretReader } from './secrets.ts'

/** What came of a probe. */
export type Probed = Probe & {
  /** It failed by the plugin's own fault. */
  own?: true
}

export interface Health {
  /** Probes and tells until the signal aborts. */
  watch(process: PluginProcess, over: AbortSignal): Promise<void>
  /** A call failed for the vendor's or the plugin's sake: looks again soon. */
  look(): void
}

const second = 1000
/** How often a degraded provider is asked again. */
const probeEveryMs = 15 * second
/** A plugin that says `initialising` is asked again after this. */
const initialisingMs = second
const probeDeadlineMs = 10 * second
const noTrace = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-00`

export function healthOf(ask: (process: PluginProcess) => Promise<Probed>, tell: (found: Probed) => void): Health {
  let now = Promise.withResolvers<void>()

  async function untilNext(waitMs: number | undefined, over: AbortSignal): Promise<void> {
    if (waitMs === undefined) await asked(over)
    // Many calls fail together; one look is enough.
    await sleep(waitMs ?? second, undefined, { signal: over, ref: false }).catch(() => undefined)
  }

  /** A process may be looked at for months: no look leaves a listener. */
  function asked(over: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        over.removeEventListener('abort', end)
        resolve()
      }
      over.addEventListener('abort', end)
      void now.promise.then(end)
    })
  }

  return {
    look: () => now.resolve(),
    async watch(process, over) {
      while (!over.aborted) {
        now = Promise.withResolvers<void>()
        const found = await ask(process)
        if (over.aborted) return
        tell(found)
        await untilNext(found.state === 'ready' ? undefined : found.state === 'failed' ? probeEveryMs : initialisingMs, over)
      }
    },
  }
}

/** One probe; what it throws is a failed one. */
export async function probeOnce(
  process: PluginProcess,
  { epoch, secret, redactor }: { epoch: number; secret: SecretReader; redactor: Redactor },
): Promise<Probed> {
  try {
    const found = await process.connection.worker.probe({
      deadlineMs: probeDeadlineMs,
      idempotencyKey: 'probe',
      epoch,
      attempt: 1,
      traceparent: noTrace,
      secret: async (name) => {
        const found = await secret(name)
        redactor.learn(found.value)
        return found
      },
    })
    const clean = (text: string): string => redactor.clean(text)
    return {
      ...found,
      ...(found.message === undefined ? {} : { message: clean(found.message) }),
      ...(found.hint === undefined ? {} : { hint: clean(found.hint) }),
      ...(found.notes === undefined ? {} : { notes: found.notes.map(clean) }),
      ...(found.facts === undefined
        ? {}
        : { facts: Object.fromEntries(Object.entries(found.facts).map(([key, value]) => [clean(key), clean(value)])) }),
    }
  } catch (error) {
    const { code, message, hint } = error as ProviderError
    const own = code === 'internal' && !isVendors([message, ...process.tail()])
    return {
      state: 'failed',
      message: redactor.clean(message),
      ...(own ? { own } : {}),
      ...(hint === undefined ? {} : { hint: redactor.clean(hint) }),
    }
  }
}

/** What a probe that is not well says. */
export function whyOf(found: Probe, otherwise: string): { reason: string; hint?: string } {
  return { reason: found.message ?? otherwise, ...(found.hint === undefined ? {} : { hint: found.hint }) }
}
