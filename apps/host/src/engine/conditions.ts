/** Lasting states worth an operator's eye. Memory is what counts now; the store keeps them over a restart. */
import type { Clock } from './clock.ts'
import type { Conditions } from './api.ts'
import type { ConditionRecord } from './model.ts'
import type { Store, Tx } from '../store/store.ts'

export interface ConditionsRoom extends Conditions {
  /** Resolves when all changes so far are stored, or could not be. */
  settled(): Promise<void>
}

export async function openConditions(store: Store, clock: Clock): Promise<ConditionsRoom> {
  const held = new Map<string, ConditionRecord>()
  for (const row of await store.read.selectFrom('conditions').selectAll().orderBy('since').execute())
    held.set(keyOf(row), { ...row })
  let pending: Promise<unknown> = Promise.resolve()

  const keep = (work: (tx: Tx) => Promise<unknown>): void => {
    // A condition must not fail what raised it; while the store is ill it lives in memory.
    pending = Promise.all([pending, store.write(work).catch(() => {})])
  }

  function ownHealth(): ConditionRecord[] {
    const health = store.health()
    if (health.state === 'ok') return []
    const { message, hint, since } = health
    return [{ scope: 'host', name: 'store', type: `store-${health.state}`, message, hint, since, updated_at: since }]
  }

  return {
    list: () => [...held.values(), ...ownHealth()],
    raise: ({ scope, name, type, message, hint }) => {
      const now = clock.now()
      const before = held.get(keyOf({ scope, name, type }))
      // The same again is no news: a condition that is raised with every call costs nothing.
      if (before?.message === message && before.hint === hint) return
      const row: ConditionRecord = { scope, name, type, message, hint, since: before?.since ?? now, updated_at: now }
      held.set(keyOf(row), row)
      keep((tx) =>
        tx
          .insertInto('conditions')
          .values(row)
          .onConflict((conflict) => conflict.columns(['scope', 'name', 'type']).doUpdateSet({ message, hint, updated_at: now }))
          .execute(),
      )
    },
    clear: ({ scope, name, type }) => {
      if (!held.delete(keyOf({ scope, name, type }))) return
      keep((tx) =>
        tx.deleteFrom('conditions').where('scope', '=', scope).where('name', '=', name).where('type', '=', type).execute(),
      )
    },
    settled: async () => {
      await pending
    },
  }
}

function keyOf(key: Pick<ConditionRecord, 'name' | 'type'> & { scope: string }): string {
  return `${key.scope}/${key.name}/${key.type}`
}
