/** Which providers have something at their vendor, by the store alone: asked before there is an engine. */
import type { Store } from '../store/store.ts'
import { preparedAt } from './prepare.ts'

/** Names of those with live workers. Errors: StoreError. */
export async function workingProviders({ read }: Pick<Store, 'read'>): Promise<Set<string>> {
  const found = await read.selectFrom('workers').select('provider').distinct().where('ended_at', 'is', null).execute()
  return new Set(found.map((one) => one.provider))
}

/** Names of those with live workers, or with something else that only they can remove. Errors: StoreError. */
export async function holdingProviders(store: Pick<Store, 'read'>): Promise<Set<string>> {
  const orphans = store.read.selectFrom('orphans').select('provider').distinct()
  const left = await orphans.where('state', 'in', ['quarantined', 'removing']).execute()
  return new Set([...(await workingProviders(store)), ...left.map((one) => one.provider), ...(await preparedAt(store))])
}
