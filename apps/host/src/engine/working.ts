/** Which providers have live workers, by the store alone: asked before there is an engine. */
import type { Store } from '../store/store.ts'

/** Names. Errors: StoreError. */
export async function workingProviders({ read }: Pick<Store, 'read'>): Promise<Set<string>> {
  const found = await read.selectFrom('workers').select('provider').distinct().where('ended_at', 'is', null).execute()
  return new Set(found.map((one) => one.provider))
}
