/** How long a command that does not begin is asked for, and what is told of it meanwhile. */
import type { ProviderError } from '@muster/core'
import { StoreError } from '../../store/store.ts'
import { awayMs, type Job, shownAs } from './deps.ts'

export interface Patience {
  /** After each failure to begin: why there will be no further try; undefined: there will. */
  spent(error: ProviderError): Promise<string | undefined>
  /** What this host could not do meanwhile does not count. */
  renew(): void
}

/** These say nothing of the worker: its provider is asked too often, or does not let this host in. */
const ofProvider = new Set<ProviderError['code']>(['throttled', 'auth'])

/** Reasons of one run. */
const MOST_TOLD = 20
/** Random names and long numbers, which are others each time: two reasons that differ by them alone are one. */
const CHANGING = /[0-9a-f]{8,}|\d{4,}/gi

/**
 * A worker that its provider can be asked for, and that takes no command for as long as its pool gives one to start, will not. A provider
 * that is away is waited for as long as with everything else.
 */
export function patienceFor(job: Job): Patience {
  const { deps, run } = job
  const { clock } = deps.engine
  let failingSince: number | undefined
  let refusedSince: number | undefined
  const told = new Set<string>()

  async function tell(text: string, allowedMs: number): Promise<void> {
    const same = text.replaceAll(CHANGING, '#')
    if (told.has(same) || told.size >= MOST_TOLD) return
    told.add(same)
    const row = {
      rule: 'exec-retry' as const,
      decision: `its command could not be started: ${text}; asked again`,
      pool: run.pool,
      provider: job.worker.provider,
      runId: run.id,
      workerId: job.worker.id,
      inputs: { reason: text },
      change: `Its worker takes it; else it ends after ${seconds(allowedMs)} of this.`,
    }
    try {
      await deps.engine.store.write((tx, after) => deps.engine.journal.append(tx, after, row))
    } catch (error) {
      // The store is ill: told with the next reason.
      if (!(error instanceof StoreError)) throw error
    }
  }

  function renew(): undefined {
    failingSince = refusedSince = undefined
  }

  return {
    renew,
    async spent(error) {
      // By this host, which may not act just now.
      if (error.code === 'cancelled') return renew()
      const now = clock.now()
      const startMs = deps.engine.pools.get(run.pool)?.config.startDeadlineMs ?? awayMs
      failingSince ??= now
      const refused = !ofProvider.has(error.code) && (await shownAs(job)) !== undefined
      refusedSince = refused ? (refusedSince ?? now) : undefined
      const text = `${error.code}: ${error.message}`
      if (refusedSince !== undefined && now - refusedSince >= startMs)
        return `its worker did not start the command within ${seconds(startMs)}: ${text}`
      if (now - failingSince >= awayMs) return `the command could not be started for ${seconds(awayMs)}: ${text}`
      await tell(text, refused ? startMs : awayMs)
      return undefined
    },
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
