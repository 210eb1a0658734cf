/**
 * Idempotency keys of creating calls: the answer is stored in the transaction that creates, so that a call repeated after a lost answer
 * (or by a client that lived through a restart of the daemon) creates nothing again and gets the same answer. Their age is counted as leases
 * are, by the steady clock: whatever is done to the machine's, none is forgotten early.
 */
import { sql } from 'kysely'
import type { Also } from '../engine/api.ts'
import type { Clock } from '../engine/clock.ts'
import { canonical } from '../engine/spec.ts'
import type { Sealer } from '../store/seal.ts'
import type { Store, Tx } from '../store/store.ts'
import { ApiProblem } from './problems.ts'

/** Longer than any client retries; short enough that the table stays small. */
export const KEEP_MS = 86_400_000

/** Keys kept at most, whatever their age: two a second for a day. */
const KEYS = 200_000
/** Rows of one delete: some milliseconds of the store's time. */
const SLICE = 2000

export interface KeyedRequest {
  /** The header's value; absent: nothing is remembered. */
  key: string | undefined
  principal: string
  /** What must be the same: method, path, body. */
  request: unknown
}

export interface Idempotency {
  /** Runs `create` once per key. `create` must write with the `also` it gets. `show` makes the answer that is stored and given. */
  once<R, A>(keyed: KeyedRequest, create: (also?: Also<R>) => Promise<R>, show: (record: R) => A): Promise<A>
  /** 32 secret bytes for what {@link once} made, the same each time: an answer that holds a secret is not stored, it is made again. */
  secret(keyed: Pick<KeyedRequest, 'key' | 'principal'>, id: string): Buffer
  /** Forgets keys that are too old. */
  sweep(): Promise<void>
}

/** Undoes a creation whose key was used meanwhile. */
class UsedMeanwhile extends Error {}

export function idempotency(store: Store, sealer: Sealer, { now }: Pick<Clock, 'now'>): Idempotency {
  /**
   * The machine's clock was set back before this start: the newest of what is from later than now counts as made now, and the others as so
   * long before it as they were. They would be kept for as long as that clock was set back by.
   */
  async function fromLater(tx: Tx): Promise<void> {
    const { newest } = await tx
      .selectFrom('idempotency')
      .select(({ fn }) => fn.max('created_at').as('newest'))
      .executeTakeFirstOrThrow()
    const at = now()
    if (newest === null || newest <= at) return
    await tx
      .updateTable('idempotency')
      .set({ created_at: sql<number>`created_at - ${newest - at}` })
      .where('created_at', '>', at)
      .execute()
  }

  return {
    async once<R, A>(keyed: KeyedRequest, create: (also?: Also<R>) => Promise<R>, show: (record: R) => A): Promise<A> {
      const { key, principal } = keyed
      if (key === undefined) return show(await create())
      // Under the key: a plain digest of a request with a guessable env value would betray it.
      const digest = sealer.digest(canonical(keyed.request))
      const answered = async (reader: Pick<Tx, 'selectFrom'>): Promise<{ answer: A } | undefined> => {
        const row = await reader
          .selectFrom('idempotency')
          .select(['request_digest', 'response'])
          .where('principal', '=', principal)
          .where('key', '=', key)
          .executeTakeFirst()
        if (row === undefined) return undefined
        if (row.request_digest !== digest)
          throw new ApiProblem('idempotency-mismatch', `the idempotency key '${key}' was used for another request`)
        return { answer: JSON.parse(row.response) as A }
      }
      const before = await answered(store.read)
      if (before !== undefined) return before.answer
      try {
        return show(
          await create(async (tx, _after, record) => {
            // Writes run one at a time: what was not there a moment ago may be now, and then this creation is undone.
            if ((await answered(tx)) !== undefined) throw new UsedMeanwhile()
            const row = { request_digest: digest, status: 201, response: JSON.stringify(show(record)) }
            await tx
              .insertInto('idempotency')
              .values({ key, principal, ...row, created_at: now() })
              .execute()
          }),
        )
      } catch (error) {
        const meanwhile = error instanceof UsedMeanwhile ? await answered(store.read) : undefined
        if (meanwhile === undefined) throw error
        return meanwhile.answer
      }
    },
    secret: ({ key = '', principal }, id) => sealer.derive(canonical({ principal, key, id })),
    async sweep() {
      await store.write(fromLater)
      for (let full = true; full;) {
        // The newest of the slice, or of those beyond the number.
        const at = async (order: 'asc' | 'desc', offset: number): Promise<number | undefined> =>
          (
            await store.read
              .selectFrom('idempotency')
              .select('created_at')
              .orderBy('created_at', order)
              .offset(offset)
              .limit(1)
              .executeTakeFirst()
          )?.created_at
        const end = Math.max(now() - KEEP_MS - 1, (await at('desc', KEYS)) ?? 0)
        const slice = await at('asc', SLICE)
        full = slice !== undefined && slice < end
        const until = full ? (slice ?? end) : end
        await store.write((tx) => tx.deleteFrom('idempotency').where('created_at', '<=', until).execute())
      }
    },
  }
}
