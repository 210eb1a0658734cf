/** What the engine's parts share. Made once at start; nobody else holds engine state. */
import type { Tracing } from '../observe/trace.ts'
import type { Fence, PluginRoom } from '../plugins/api.ts'
import type { Sealer } from '../store/seal.ts'
import { type Store, StoreError, type StoreWork } from '../store/store.ts'
import { EngineError, type EngineSettings } from './api.ts'
import type { Clock } from './clock.ts'
import type { ConditionsRoom } from './conditions.ts'
import type { JournalRoom } from './journal.ts'
import type { PassKillPoint } from './killpoint.ts'
import type { EngineState } from './state.ts'
import type { KeptPlugin } from './upgrade-api.ts'
import type { Wishes } from './wishes.ts'

export interface Context {
  store: Store
  sealer: Sealer
  clock: Clock
  fence: Fence
  plugins: PluginRoom
  /** Replaced as a whole by another configuration. */
  settings: EngineSettings
  state: EngineState
  journal: JournalRoom
  conditions: ConditionsRoom
  wishes: Wishes
  /** By provider; changed by `kept.ts` alone. */
  kept: Map<string, KeptPlugin>
  /** Ids of workers whose launch may have had an effect, and was not answered; changed by `calls.ts` alone. */
  doubtful: Set<string>
  /** Ids of workers that end with their lease; changed by `workers.ts` alone. Lost at a restart: whoever is handed one finds it out anew. */
  unfit: Set<string>
  killpoint: PassKillPoint
  tracing: Tracing
  /** Aborts when the engine stops. */
  stopping: AbortSignal
  /** When this engine started: deadlines of records from before are counted from here, since nobody watched meanwhile. */
  startedAt: number
  /** A defect of the engine itself, or a store that is ill: nothing is lost, but somebody should know. */
  report(message: string, error: unknown): void
}

/** A record was changed by another write of the same group; the work is done again on the new one. */
export class StaleRecord extends Error {
  override readonly name = 'StaleRecord'
}

/** Other writes of one group that may touch the same record, at the very most. */
const STALE_TRIES = 20
/** While the store is ill. Its own probe runs every second, so that this finds it well soon after. */
const ILL_RETRY_MS = 500

/** Writes; does the work again, on the new records, when another write came first. `work` reads records only inside. */
export async function mutate<T>(context: Context, work: StoreWork<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await context.store.write(work)
    } catch (error) {
      if (!(error instanceof StaleRecord)) throw error
      if (tries === STALE_TRIES) throw new EngineError('busy', 'the record keeps changing')
    }
  }
}

/**
 * As {@link mutate}, for what has happened already and must be stored: goes on while the store is full, busy or failing. Rejects only
 * when the engine stops or the store is closed; then the next start finds out anew.
 */
export async function persist<T>(context: Context, work: StoreWork<T>): Promise<T> {
  for (;;) {
    try {
      return await mutate(context, work)
    } catch (error) {
      const lasting = !(error instanceof StoreError) || error.code === 'closed'
      if (lasting || context.stopping.aborted) throw error
      await pause(context, ILL_RETRY_MS)
    }
  }
}

/** Resolves after `ms`, or at once when the engine stops. */
export function pause(context: Context, ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (context.stopping.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      cancel()
      context.stopping.removeEventListener('abort', done)
      resolve()
    }
    const cancel = context.clock.after(ms, done)
    context.stopping.addEventListener('abort', done)
  })
}

/** Starts work that nobody waits for. What fails although the engine runs is reported, never lost. */
export function background(context: Context, what: string, work: () => Promise<unknown>): void {
  work().catch((error: unknown) => {
    if (!context.stopping.aborted) context.report(what, error)
  })
}
