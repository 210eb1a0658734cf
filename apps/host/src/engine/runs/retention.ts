/** Drops runs that ended long ago with all that is kept of them, and the oldest logs and outputs when they take too much room. */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Engine } from '../api.ts'
import { timeOfId } from '../../store/ids.ts'
import { bytesOf } from '../storage.ts'
import { runDir } from './deps.ts'

export interface RunRetention {
  /** Ended longer ago than this: dropped. */
  runsMs: number
  /** Ended runs kept at most, whatever their age. */
  records: number
  /** Logs and outputs of runs that ended longer ago than this go; the records stay. */
  logsMs: number
  /** Logs and outputs of ended runs together. */
  logsBytes: number
}

/** Soon after a start, but not in its way; then ages count in days, and an hour late does not matter. */
const firstMs = 90_000
const intervalMs = 3_600_000
/** Rows of one delete: some milliseconds of the store's time. */
const slice = 500
/** Folders removed at once: few open files, and not one turn of the loop for each. */
const together = 50

export interface RetentionDeps {
  engine: Pick<Engine, 'store' | 'clock'>
  dataDir: string
  retention(): RunRetention
  stopping: AbortSignal
  report(message: string, data: object): void
  /** Told how much room is taken after a round. */
  measured?(bytes: number): void
}

export function startRunRetention(deps: RetentionDeps): void {
  const round = (): void => {
    dropOldRuns(deps)
      .catch((error: unknown) => deps.report('old runs could not be dropped', { error: String(error) }))
      .finally(() => {
        if (!deps.stopping.aborted) next(intervalMs)
      })
  }
  const next = (ms: number): void => {
    const cancel = deps.engine.clock.after(ms, round)
    deps.stopping.addEventListener('abort', cancel, { once: true })
  }
  next(firstMs)
}

/** One round. Records go before their files: a file without a record is found by nobody, the other way round is a lie. */
export async function dropOldRuns(deps: RetentionDeps): Promise<void> {
  const { engine, retention, stopping } = deps
  const until = Math.max(engine.clock.now() - retention().runsMs, await beyond(deps))
  for (let full = true; full && !stopping.aborted;) {
    const old = await engine.store.read.selectFrom('runs').select('id').where('ended_at', '<', until).limit(slice).execute()
    full = old.length === slice
    const ids = old.map((one) => one.id)
    if (ids.length === 0) break
    await engine.store.write((tx) => tx.deleteFrom('runs').where('id', 'in', ids).execute())
    for (let from = 0; from < ids.length; from += together)
      await Promise.all(ids.slice(from, from + together).map((id) => rm(runDir(deps, id), { recursive: true, force: true })))
  }
  await dropByRoom(deps)
}

/** Runs that ended before this are more than may be kept; -1 when they are not. */
async function beyond({ engine, retention }: RetentionDeps): Promise<number> {
  const first = await engine.store.read
    .selectFrom('runs')
    .select('ended_at')
    .where('ended_at', 'is not', null)
    .orderBy('ended_at', 'desc')
    .offset(retention().records)
    .limit(1)
    .executeTakeFirst()
  return (first?.ended_at ?? -2) + 1
}

/** Too old ones, and the oldest first until the rest fits. Their records stay: a run whose log was dropped says `gone`. */
async function dropByRoom(deps: RetentionDeps): Promise<void> {
  const { engine, retention, stopping } = deps
  const names = (await readdir(join(deps.dataDir, 'runs')).catch(() => [] as string[])).sort()
  const sizes = new Map<string, number>()
  for (const name of names) {
    if (stopping.aborted) return
    sizes.set(name, await bytesOf(runDir(deps, name)))
  }
  // What is under way cannot go, so it does not count either: all that ended would make room for it in vain.
  let growing = 0
  for (const id of await underWay(deps)) {
    growing += sizes.get(id) ?? 0
    sizes.delete(id)
  }
  let total = [...sizes.values()].reduce((sum, one) => sum + one, 0)
  const { logsMs, logsBytes } = retention()
  const oldest = engine.clock.now() - logsMs
  for (const [id, bytes] of sizes) {
    // An id begins with the time it was made: a run made since has not ended before.
    if ((total <= logsBytes && timeOfId(id) >= oldest) || stopping.aborted) break
    const row = await engine.store.read.selectFrom('runs').select('ended_at').where('id', '=', id).executeTakeFirst()
    if (total <= logsBytes && row !== undefined && (row.ended_at ?? 0) >= oldest) continue
    await rm(runDir(deps, id), { recursive: true, force: true })
    total -= bytes
  }
  deps.measured?.(growing + total)
}

async function underWay({ engine }: RetentionDeps): Promise<string[]> {
  const rows = await engine.store.read.selectFrom('runs').select('id').where('ended_at', 'is', null).execute()
  return rows.map((one) => one.id)
}
