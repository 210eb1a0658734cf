/** The decision journal: one row a decision, written with what it decided; each committed row is an event. */
import type { Clock } from './clock.ts'
import { beginsWhole, columns, cutOf } from './beginning.ts'
import type { EngineEvents, Journal, JournalPage } from './api.ts'
import type { JournalEntry, JournalRow } from './model.ts'
import type { AfterCommit, Store, Tx } from '../store/store.ts'

export interface JournalRoom extends Journal {
  readonly events: EngineEvents
  /** Told of every row, right after its commit. */
  onDecision(listener: (row: JournalRow) => void): void
  /** Ends all subscriptions. */
  close(): void
}

/** Newest rows kept in memory: a subscriber that is at most this far behind is served without a query. */
const RECENT = 2048
const PAGE = 500
/** Longest JSON of one decision's inputs: a row explains, it does not archive. */
const INPUT_CHARS = 4000

export async function openJournal(store: Store, clock: Clock): Promise<JournalRoom> {
  const newest = await store.read.selectFrom('journal').select('seq').orderBy('seq', 'desc').limit(1).executeTakeFirst()
  let last = newest?.seq ?? 0
  const recent: JournalRow[] = []
  const wakes = new Set<() => void>()
  const listeners: ((row: JournalRow) => void)[] = []
  let closed = false

  async function append(tx: Tx, after: AfterCommit, entry: JournalEntry): Promise<void> {
    const row = {
      at: clock.wall(),
      rule: entry.rule,
      decision: entry.decision,
      pool: entry.pool ?? null,
      provider: entry.provider ?? null,
      worker_id: entry.workerId ?? null,
      lease_id: entry.leaseId ?? null,
      run_id: entry.runId ?? null,
      inputs: shortJson(entry.inputs),
      change: entry.change ?? '',
    }
    const { seq } = await tx.insertInto('journal').values(row).returning('seq').executeTakeFirstOrThrow()
    after(() => {
      last = seq
      const stored: JournalRow = { seq, ...row }
      recent.push(stored)
      if (recent.length > RECENT) recent.splice(0, recent.length - RECENT / 2)
      for (const wake of wakes) wake()
      for (const listener of listeners) listener(stored)
    })
  }

  async function after(seq: number, limit: number): Promise<JournalRow[]> {
    const first = recent[0]
    if (seq >= last) return []
    if (first !== undefined && first.seq <= seq + 1) {
      const from = recent.findLastIndex((row) => row.seq <= seq) + 1
      return recent.slice(from, from + limit)
    }
    return store.read
      .selectFrom('journal')
      .selectAll()
      .where('seq', '>', seq)
      .orderBy('seq')
      .limit(Math.min(limit, PAGE))
      .execute()
  }

  async function why(
    kind: Parameters<Journal['why']>[0],
    id: string,
    { limit = 200, before }: JournalPage = {},
  ): Promise<JournalRow[]> {
    let query = store.read.selectFrom('journal').selectAll().where(columns[kind], '=', id)
    if (before !== undefined) query = query.where('seq', '<', before)
    const rows = await query.orderBy('seq', 'desc').limit(Math.min(limit, PAGE)).execute()
    return rows.reverse()
  }

  async function droppedBefore(things: Parameters<Journal['droppedBefore']>[0]): Promise<number | undefined> {
    const cut = await cutOf(store, last)
    if (cut === undefined) return undefined
    const whole = await Promise.all(things.map(({ kind, id }) => beginsWhole(store, kind, id)))
    return whole.every(Boolean) ? undefined : (cut.at ?? clock.wall())
  }

  async function* subscribe(fromSeq: number | undefined, signal?: AbortSignal): AsyncGenerator<JournalRow> {
    let seen = fromSeq ?? last
    while (!closed && signal?.aborted !== true) {
      const newest = last
      const rows = await after(seen, PAGE)
      for (const row of rows) {
        yield row
        seen = row.seq
      }
      if (rows.length > 0) continue
      // What is not there any more was dropped by age; nobody waits for it.
      seen = Math.max(seen, newest)
      if (seen >= last) await change(signal)
    }
  }

  async function keptAfter(seq: number): Promise<number> {
    const oldest = await store.read.selectFrom('journal').select('seq').orderBy('seq').limit(1).executeTakeFirst()
    return Math.max(seq, oldest === undefined ? last : oldest.seq - 1)
  }

  function change(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        wakes.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      if (closed || signal?.aborted === true) {
        resolve()
        return
      }
      wakes.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  return {
    append,
    after,
    why,
    droppedBefore,
    events: { subscribe, last: () => last, keptAfter },
    onDecision: (listener) => void listeners.push(listener),
    close: () => {
      closed = true
      for (const wake of wakes) wake()
    },
  }
}

function shortJson(inputs: Record<string, unknown>): string {
  const text = JSON.stringify(inputs)
  return text.length <= INPUT_CHARS ? text : JSON.stringify({ cut: text.slice(0, INPUT_CHARS) })
}
