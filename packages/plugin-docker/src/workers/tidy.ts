/** Removes what outlives workers once nobody needs it: networks of pools without workers, caches beyond their limits. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { CallLog } from '@muster/core'
import { staleCaches, type VolumeRow } from './storage.ts'
import { partLabel } from '../labels.ts'

/**
 * Looks, and removes what is not in use. Never fails; those who come while it is at work are served by one more look. Caches that are too
 * large may go later.
 */
export type Tidy = (log: CallLog) => Promise<void>

export interface TidyParts {
  /** Of this owner. */
  caches(signal: AbortSignal): Promise<VolumeRow[]>
  networks(signal: AbortSignal): Promise<{ Id: string; Name: string }[]>
  sizes(signal: AbortSignal): Promise<VolumeRow[]>
  drop(thing: { kind: 'network' | 'volume'; key: string }, signal: AbortSignal): Promise<unknown>
}

/** An engine measures by walking over all files of all volumes, which takes seconds to minutes: every ten minutes is often enough. */
const SIZES_EVERY_MS = 10 * 60_000
const MEASURE_WITHIN_MS = 5 * 60_000
/** Lists and removals take a fraction of a second, on a busy machine some seconds. */
const TIDY_WITHIN_MS = 60_000
/** Runs work as no call's: one that is answered does not wait for it, so in its trace this would be a part that never ended. */
const outsideOfCalls = AsyncLocalStorage.snapshot()

export function createTidy({ caches, networks, sizes, drop }: TidyParts): Tidy {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  let measuredAt = -Infinity

  async function dropCaches(rows: readonly VolumeRow[], signal: AbortSignal): Promise<void> {
    for (const key of staleCaches(rows, Date.now())) await drop({ kind: 'volume', key }, signal)
  }

  /** Names are checked too: labels can be given to anything. */
  async function look(log: CallLog): Promise<void> {
    const signal = AbortSignal.timeout(TIDY_WITHIN_MS)
    for (const { Id, Name } of await networks(signal))
      if (Name.startsWith('muster-pool-')) await drop({ kind: 'network', key: Id }, signal)
    const own = (await caches(signal)).filter(({ Name }) => Name.startsWith('muster-cache-'))
    await dropCaches(own, signal)
    const sized = own.filter(({ Labels }) => Labels?.[partLabel.maxBytes] !== undefined)
    if (sized.length === 0 || performance.now() - measuredAt < SIZES_EVERY_MS) return
    measuredAt = performance.now()
    void logged(log, measure(sized))
  }

  async function measure(caches: readonly VolumeRow[]): Promise<void> {
    const signal = AbortSignal.timeout(MEASURE_WITHIN_MS)
    const measured = new Map((await sizes(signal)).map(({ Name, UsageData }) => [Name, UsageData]))
    const rows = caches.map((cache) => ({ ...cache, UsageData: measured.get(cache.Name) ?? null }))
    await dropCaches(rows, signal)
  }

  async function logged(log: CallLog, work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      log.warn('what pools have left could not be removed', { reason: (error as Error).message })
    }
  }

  return async (log) => {
    if (running !== undefined) return (next ??= running.then(() => start(log)))
    return start(log)
  }

  function start(log: CallLog): Promise<void> {
    next = undefined
    const work = logged(log, outsideOfCalls(look, log)).finally(() => {
      if (running === work) running = undefined
    })
    running = work
    return work
  }
}
