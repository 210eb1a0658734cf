/** What operators wish of pools and providers. The store keeps it over restarts; memory mirrors it, since every plan asks. */
import type { Conditions } from './api.ts'
import type { WishRecord } from './model.ts'
import type { AfterCommit, Store, Tx } from '../store/store.ts'
import { by } from './words.ts'

export type WishScope = 'pool' | 'provider'
/** Of pools the first two, of providers the last. No wish: that it does its work. */
export type Wish = 'paused' | 'draining' | 'disabled'

export interface Wishes {
  /** Also of a name that the configuration does not have now: kept, and without effect until it has. */
  of(scope: WishScope, name: string): WishRecord | undefined
  /** Why nothing is launched or handed out in a pool; undefined: it is not paused. */
  paused(pool: string): string | undefined
  /** It keeps no worker that nobody holds. */
  draining(pool: string): boolean
  /** Why a provider takes no launch; undefined: it may. */
  disabled(provider: string): string | undefined
  list(): WishRecord[]
  /** A step of a write; no wish ends the one that is there. */
  set(row: Pick<WishRecord, 'scope' | 'name'> & { wish?: WishRecord }, tx: Tx, after: AfterCommit): Promise<void>
}

export async function openWishes(store: Store): Promise<Wishes> {
  const held = new Map<string, WishRecord>()
  for (const row of await store.read.selectFrom('wishes').selectAll().execute()) held.set(`${row.scope}/${row.name}`, { ...row })
  const of = (scope: string, name: string): WishRecord | undefined => held.get(`${scope}/${name}`)
  const is = (scope: WishScope, name: string, wish: Wish): WishRecord | undefined => {
    const row = of(scope, name)
    return row?.wish === wish ? row : undefined
  }
  return {
    of,
    paused: (pool) => {
      const row = is('pool', pool, 'paused')
      return row === undefined ? undefined : `the pool is paused ${by(row)}`
    },
    draining: (pool) => is('pool', pool, 'draining') !== undefined,
    disabled: (provider) => {
      const row = is('provider', provider, 'disabled')
      return row === undefined ? undefined : `it is disabled ${by(row)}`
    },
    list: () => [...held.values()],
    set: async ({ scope, name, wish }, tx, after) => {
      await tx.deleteFrom('wishes').where('scope', '=', scope).where('name', '=', name).execute()
      if (wish !== undefined) await tx.insertInto('wishes').values(wish).execute()
      after(() => {
        if (wish === undefined) held.delete(`${scope}/${name}`)
        else held.set(`${scope}/${name}`, wish)
      })
    },
  }
}

/** Types of the conditions, by the wish they show. */
const shown: Readonly<Record<Wish, { scope: WishScope; words: string; hint: (name: string) => string }>> = {
  paused: { scope: 'pool', words: 'nothing is launched or handed out: paused', hint: (name) => `muster resume ${name}` },
  draining: { scope: 'pool', words: 'it keeps no worker that nobody holds: drained', hint: (name) => `muster resume ${name}` },
  disabled: { scope: 'provider', words: 'it takes no launch: disabled', hint: (name) => `muster providers enable ${name}` },
}

/** Whoever looks at a pool or a provider sees what an operator has done to it. */
export function showWish(conditions: Conditions, scope: WishScope, given: { name: string; wish: WishRecord | undefined }): void {
  const { name, wish } = given
  for (const [type, { scope: of, words, hint }] of Object.entries(shown) as [Wish, (typeof shown)[Wish]][])
    if (of === scope && type === wish?.wish)
      conditions.raise({ scope, name, type, message: `${words} ${by(wish)}`, hint: `It ends with: ${hint(name)}` })
    else if (of === scope) conditions.clear({ scope, name, type })
}

/** At start: the conditions of before may speak of names that are configured no longer, or miss a wish of the last moment. */
export function showWishes(conditions: Conditions, wishes: Wishes, names: Readonly<Record<WishScope, readonly string[]>>): void {
  for (const scope of ['pool', 'provider'] as const) {
    for (const name of names[scope]) showWish(conditions, scope, { name, wish: wishes.of(scope, name) })
    for (const { scope: of, name } of wishes.list())
      if (of === scope && !names[scope].includes(name)) showWish(conditions, scope, { name, wish: undefined })
  }
}
