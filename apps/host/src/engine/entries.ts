/**
 * How each provider is configured, as the store keeps it: what the configuration names no longer is known to the next daemon by it, for as long
 * as it has something left.
 */
import type { Store, Tx } from '../store/store.ts'

export interface ProviderEntry {
  name: string
  /** JSON. */
  value: string
}

/** In the table of what is one of a kind, by name of the provider. */
const PREFIX = 'provider:'

/** In the write that puts them in force, or before anything is asked of them. */
export async function noteEntries(tx: Tx, entries: readonly ProviderEntry[]): Promise<void> {
  for (const { name, value } of entries)
    await tx
      .insertInto('meta')
      .values({ key: PREFIX + name, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute()
}

export async function forgetEntry(tx: Tx, name: string): Promise<void> {
  await tx
    .deleteFrom('meta')
    .where('key', '=', PREFIX + name)
    .execute()
}

/** Errors: StoreError. */
export async function entriesOf({ read }: Pick<Store, 'read'>): Promise<ProviderEntry[]> {
  const rows = await read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute()
  return rows.map(({ key, value }) => ({ name: key.slice(PREFIX.length), value }))
}
