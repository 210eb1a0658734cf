/** Whether what is known of a thing begins where that began, or was cut by retention. */
import type { Journal } from './api.ts'
import type { JournalRule } from './journal-rules.ts'
import type { Store } from '../store/store.ts'

type Kind = Parameters<Journal['why']>[0]

/** What the first decision about each can be. Pools and providers have none: they are configured, and end with the journal. */
const first: Readonly<Record<Kind, readonly JournalRule[]>> = {
  worker: ['launch-for-lease', 'launch-warm', 'orphan-quarantined'],
  lease: ['lease-queued'],
  run: ['run-created'],
  pool: [],
  provider: [],
}

/** By what the journal knows a thing. */
export const columns: Readonly<Record<Kind, 'worker_id' | 'lease_id' | 'run_id' | 'pool' | 'provider'>> = {
  worker: 'worker_id',
  lease: 'lease_id',
  run: 'run_id',
  pool: 'pool',
  provider: 'provider',
}

/** The oldest decision of all; undefined: nothing was ever dropped. `at` is null when nothing is left. */
export async function cutOf({ read }: Pick<Store, 'read'>, last: number): Promise<{ at: number | null } | undefined> {
  const oldest = await read.selectFrom('journal').select(['seq', 'at']).orderBy('seq').limit(1).executeTakeFirst()
  if (oldest === undefined) return last === 0 ? undefined : { at: null }
  return oldest.seq === 1 ? undefined : { at: oldest.at }
}

/** Whether the oldest decision about a thing that is kept is its first one. */
export async function beginsWhole({ read }: Pick<Store, 'read'>, kind: Kind, id: string): Promise<boolean> {
  if (first[kind].length === 0) return false
  const row = await read
    .selectFrom('journal')
    .select(['rule', 'inputs'])
    .where(columns[kind], '=', id)
    .orderBy('seq')
    .limit(1)
    .executeTakeFirst()
  if (row === undefined || !first[kind].includes(row.rule as JournalRule)) return false
  // An orphan whose record is closed was a worker before.
  return row.rule !== 'orphan-quarantined' || (JSON.parse(row.inputs) as { record?: string }).record !== 'closed'
}
