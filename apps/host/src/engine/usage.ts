/**
 * What workers use: the last sample of each that lives, from one stream of each provider. It is kept in memory alone: after a restart the next
 * sample says it anew.
 */
import { toProviderError, type WorkerStats } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { askedPause, fullJitter, watchBackoff } from './backoff.ts'
import { background, type Context, pause } from './context.ts'
import type { PoolUsage, Usage, WorkerUsage } from './used.ts'

export interface UsageRoom {
  usage: Usage
  /** Follows a provider that can tell, as the settings want it, until it is forgotten. Idempotent. */
  follow(provider: GuardedProvider): void
  forget(provider: string): void
}

/** Whoever looks at a worker looks again after about so long. */
const SAMPLE_MS = 2000
/** A hundred samples a second cost some percent of a core: of more workers there is one more rarely. */
const MOST_A_SECOND = 100

/** A stream goes on at the pace that was asked for; beginning it anew costs a look at each worker. */
const MUCH_SLOWER = 1.5

/** Between two samples of one worker, where a provider has so many. */
export function sampleEveryMs(workers: number, least: number = SAMPLE_MS): number {
  return Math.max(least, Math.ceil((workers / MOST_A_SECOND) * 1000))
}

export function usageRoom(context: Context): UsageRoom {
  const { state, clock } = context
  const samples = new Map<string, WorkerUsage>()
  const listeners: Parameters<Usage['onSample']>[0][] = []
  const followed = new Map<string, { over: AbortController; wanted: number | 'off' | undefined }>()

  state.onWorker(({ id, ended_at: ended }) => {
    if (ended !== null) samples.delete(id)
  })

  function take(provider: string, { id, ...sample }: WorkerStats): void {
    const worker = state.workers.get(id)
    // A provider that tells of others' workers is wrong; one that has just ended may still be told of.
    if (worker === undefined || worker.provider !== provider) return
    const before = samples.get(id)
    const now = following(sample, before)
    samples.set(id, now)
    for (const listener of listeners) listener(worker, now, before)
  }

  function forget(name: string): void {
    followed.get(name)?.over.abort()
    followed.delete(name)
  }

  async function run(
    provider: GuardedProvider,
    { over, least }: { over: AbortSignal; least?: number | undefined },
  ): Promise<void> {
    const pace = (): number => sampleEveryMs(state.ofProvider(provider.name).size, least)
    let broken = 0
    while (!over.aborted && provider.capabilities.stats) {
      const began = clock.now()
      /** At another pace than the one that was asked for, since there are many more workers than at that time. */
      let again = false
      try {
        const everyMs = pace()
        for await (const sample of provider.stats({ everyMs }, { signal: over })) {
          if (over.aborted) return
          broken = 0
          take(provider.name, sample)
          again = pace() > MUCH_SLOWER * everyMs
          if (again) break
        }
      } catch (thrown) {
        const error = toProviderError(thrown)
        // Its deadline is such a stream's normal end.
        if (error.code !== 'deadline') broken += 1
        if (!over.aborted) await pause(context, askedPause(error, 0))
      }
      if (over.aborted) return
      if (again) continue
      // One that ends as soon as it began is broken too, however politely it ends.
      if (clock.now() - began < watchBackoff.baseMs) broken += 1
      if (broken > 0) await pause(context, Math.max(1, fullJitter(watchBackoff, broken, clock.random())))
    }
  }

  return {
    usage: {
      of: (worker) => samples.get(worker),
      byPool() {
        const pools = new Map<string, PoolUsage>()
        for (const [id, { cpu = 0, memoryBytes }] of samples) {
          const pool = state.workers.get(id)?.pool
          if (pool === undefined) continue
          const sum = pools.get(pool) ?? { workers: 0, cpu: 0, memoryBytes: 0 }
          pools.set(pool, { workers: sum.workers + 1, cpu: sum.cpu + cpu, memoryBytes: sum.memoryBytes + memoryBytes })
        }
        return pools
      },
      // What another holder had before stands in the same peak.
      peakOf: ({ id, uses }) => (uses > 0 ? undefined : samples.get(id)?.memoryPeakBytes),
      onSample: (listener) => void listeners.push(listener),
    },
    follow(provider) {
      const { name } = provider
      const wanted = context.settings.stats?.[name]
      const before = followed.get(name)
      if (!provider.capabilities.stats || (before !== undefined && before.wanted === wanted)) return
      forget(name)
      const mine = { over: new AbortController(), wanted }
      followed.set(name, mine)
      if (wanted === 'off') {
        // What was known goes out of date.
        for (const id of state.ofProvider(name)) samples.delete(id)
        return
      }
      const over = AbortSignal.any([context.stopping, mine.over.signal])
      background(context, 'what workers use could not be followed', () =>
        run(provider, { over, least: wanted }).finally(() => {
          if (followed.get(name) === mine) followed.delete(name)
        }),
      )
    },
    forget,
  }
}

/** With the peak of all samples, and the processor time since the one before. Pure. */
export function following(sample: Omit<WorkerStats, 'id'>, before: WorkerUsage | undefined): WorkerUsage {
  const peak = Math.max(sample.memoryBytes, sample.memoryPeakBytes ?? 0, before?.memoryPeakBytes ?? 0)
  const seconds = before === undefined ? 0 : (Date.parse(sample.at) - Date.parse(before.at)) / 1000
  const used = sample.cpuSeconds - (before?.cpuSeconds ?? 0)
  return { ...sample, memoryPeakBytes: peak, ...(seconds > 0 ? { cpu: Math.max(0, used) / seconds } : {}) }
}
