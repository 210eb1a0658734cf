/** Lasting states worth an operator's eye. Memory is what counts now; the store keeps them over a restart. */
import type { Clock } from './clock.ts'
import type { JournalRoom } from './journal.ts'
import type { Conditions } from './api.ts'
import type { ConditionType } from './condition-types.ts'
import type { ConditionRecord } from './model.ts'
import type { Store, StoreWork } from '../store/store.ts'

export interface ConditionsRoom extends Conditions {
  /** Resolves when all changes so far are stored, or could not be. */
  settled(): Promise<void>
}

/** An operator's wishes are decisions with rows of their own. */
const toldAsWishes: ReadonlySet<string> = new Set(['paused', 'draining', 'disabled'] satisfies ConditionType[])

/** Each that is raised or cleared is a row of the journal, so that whoever reads events hears of it. */
export async function openConditions(store: Store, clock: Clock, journal: Pick<JournalRoom, 'append'>): Promise<ConditionsRoom> {
  const held = new Map<string, ConditionRecord>()
  for (const row of await store.read.selectFrom('conditions').selectAll().orderBy('since').execute())
    held.set(keyOf(row), { ...row })
  let pending: Promise<unknown> = Promise.resolve()

  const keep = (work: StoreWork<unknown>): void => {
    // A condition must not fail what raised it; while the store is ill it lives in memory.
    pending = Promise.all([pending, store.write(work).catch(() => {})])
  }

  async function tell([tx, after]: Parameters<StoreWork<void>>, row: ConditionRecord, how: 'raised' | 'cleared'): Promise<void> {
    const { scope, name, type, message, hint, since } = row
    if (toldAsWishes.has(type)) return
    const subject = scope === 'host' ? {} : { [scope]: name }
    const told = { rule: `condition-${how}` as const, ...subject, inputs: { scope, name, type, since } }
    if (how === 'raised') await journal.append(tx, after, { ...told, decision: message, change: hint })
    else await journal.append(tx, after, { ...told, decision: `no longer so: ${message}` })
  }

  function ownHealth(): ConditionRecord[] {
    const health = store.health()
    if (health.state === 'ok') return []
    const { message, hint, since } = health
    return [{ scope: 'host', name: 'store', type: `store-${health.state}`, message, hint, since, updated_at: since }]
  }

  const listeners = new Set<Parameters<Conditions['onChange']>[0]>()
  const say = (row: ConditionRecord, how: 'raised' | 'cleared'): void => {
    for (const listener of listeners) listener(row, how)
  }
  let ill = ownHealth()
  store.onHealth(() => {
    const over = ill
    ill = ownHealth()
    for (const row of over) say(row, 'cleared')
    for (const row of ill) say(row, 'raised')
    // While it lasted there was no room for a row.
    for (const row of over)
      keep(async (...tx) => {
        await tell(tx, row, 'raised')
        await tell(tx, row, 'cleared')
      })
  })

  return {
    list: () => [...held.values(), ...ownHealth()],
    raise: ({ scope, name, type, message, hint }) => {
      const now = clock.wall()
      const before = held.get(keyOf({ scope, name, type }))
      // The same again is no news: a condition that is raised with every call costs nothing.
      if (before?.message === message && before.hint === hint) return
      const row: ConditionRecord = { scope, name, type, message, hint, since: before?.since ?? now, updated_at: now }
      held.set(keyOf(row), row)
      if (before === undefined) say(row, 'raised')
      keep(async (tx, after) => {
        await tx
          .insertInto('conditions')
          .values(row)
          .onConflict((conflict) => conflict.columns(['scope', 'name', 'type']).doUpdateSet({ message, hint, updated_at: now }))
          .execute()
        // One that only says it with other words is no news.
        if (before === undefined) await tell([tx, after], row, 'raised')
      })
    },
    clear: ({ scope, name, type }) => {
      const row = held.get(keyOf({ scope, name, type }))
      if (row === undefined) return
      held.delete(keyOf(row))
      say(row, 'cleared')
      keep(async (tx, after) => {
        await tx.deleteFrom('conditions').where('scope', '=', scope).where('name', '=', name).where('type', '=', type).execute()
        await tell([tx, after], row, 'cleared')
      })
    },
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    settled: async () => {
      await pending
    },
  }
}

function keyOf(key: Pick<ConditionRecord, 'name' | 'type'> & { scope: string }): string {
  return `${key.scope}/${key.name}/${key.type}`
}
