/**
 * The term: the time in which this host may act. One row of the store, taken with the next epoch, renewed while the host lives. A host
 * sends mutating calls only while its term has more than a margin left, so that a slow or cut-off host stops before its successor starts.
 */
import { performance } from 'node:perf_hooks'
import type { Fence } from '../plugins/api.ts'
import type { Store } from './store.ts'

export interface Term extends Fence {
  /** Resolves when this host must stop: another one has taken the term, or the store is not in its place any more. */
  readonly lost: Promise<'taken' | 'moved'>
  /** Gives the term up, so that the next host need not wait. */
  release(): Promise<void>
}

export interface TermOptions {
  /** This process, as `host:pid:start`. */
  holder: string
  /** True where the store admits one process only (SQLite and its lock): the former holder is dead, its term need not be waited out. */
  exclusive: boolean
  ttlMs?: number
  marginMs?: number
  renewMs?: number
  /** Is the store where it was opened? Whoever takes up what is there now knows nothing of this host. */
  inPlace?: () => boolean
  now?: () => number
  /** Milliseconds of a clock that never steps. */
  monotonic?: () => number
}

/** Long enough to ride out a stalled disk, short enough that a successor waits half a minute at most. */
const TTL_MS = 30_000
/** A call sent at the last moment must settle before the term ends: the guard's shortest deadline. */
const MARGIN_MS = 10_000
/** Four renewals may fail before the margin is reached. */
const RENEW_MS = 5000
const POLL_MS = 250

/** Takes the term, waiting for a former one to run out unless `exclusive`. Fails when the store does. */
export async function acquireTerm(store: Store, options: TermOptions): Promise<Term> {
  const now = options.now ?? Date.now
  const monotonic = options.monotonic ?? (() => performance.now())
  const ttlMs = options.ttlMs ?? TTL_MS
  const marginMs = options.marginMs ?? MARGIN_MS
  let sent = monotonic()
  let sentWall = now()

  const take = (): Promise<number | undefined> =>
    store.write(async (tx) => {
      sent = monotonic()
      sentWall = now()
      const row = await tx.selectFrom('term').selectAll().where('id', '=', 1).executeTakeFirst()
      if (row !== undefined && !options.exclusive && row.holder !== '' && row.expires_at > sentWall) return undefined
      const next = { holder: options.holder, epoch: (row?.epoch ?? 0) + 1, expires_at: sentWall + ttlMs }
      await tx
        .insertInto('term')
        .values({ id: 1, ...next })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(next))
        .execute()
      return next.epoch
    })

  let taken = await take()
  while (taken === undefined) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    taken = await take()
  }
  const epoch = taken
  // Both clocks must agree: the monotonic one stands still while the machine sleeps, the other may be set back.
  let until = { monotonic: sent + ttlMs, wall: sentWall + ttlMs }
  let gone = false
  const { promise: lost, resolve: tellLost } = Promise.withResolvers<'taken' | 'moved'>()
  const lose = (how: 'taken' | 'moved'): void => {
    gone = true
    clearInterval(timer)
    tellLost(how)
  }

  async function renew(): Promise<void> {
    if (options.inPlace?.() === false) return lose('moved')
    const start = monotonic()
    const startWall = now()
    const renewed = await store.write((tx) =>
      tx
        .updateTable('term')
        .set({ expires_at: startWall + ttlMs })
        .where('id', '=', 1)
        .where('epoch', '=', epoch)
        .where('holder', '=', options.holder)
        .executeTakeFirst(),
    )
    if (renewed.numUpdatedRows === 0n) return lose('taken')
    until = { monotonic: start + ttlMs, wall: startWall + ttlMs }
  }
  // A failed renewal is not an end: the store says what ails it, and the term runs on until its margin.
  const timer = setInterval(() => void renew().catch(() => {}), options.renewMs ?? RENEW_MS)
  timer.unref()

  return {
    lost,
    epoch: () => epoch,
    mayAct: () => !gone && monotonic() < until.monotonic - marginMs && now() < until.wall - marginMs,
    release: async () => {
      clearInterval(timer)
      if (gone) return
      gone = true
      await store.write((tx) =>
        tx.updateTable('term').set({ holder: '', expires_at: 0 }).where('id', '=', 1).where('epoch', '=', epoch).execute(),
      )
    },
  }
}
