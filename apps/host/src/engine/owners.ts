/** Which versions of plugins, and which configurations of providers, live workers belong to, counted as their records change. */
import type { LiveWorker } from './model.ts'

/** What says whose a worker is. */
export type Owned = Pick<LiveWorker, 'provider' | 'plugin_version' | 'plugin_package' | 'launched_at' | 'provider_config'>

export interface Owners {
  add(worker: LiveWorker, by: 1 | -1): void
  /** One of each that has workers: as many as there are versions and configurations. */
  list(): Owned[]
}

export function countOwners(): Owners {
  const counts = new Map<string, { owned: Owned; workers: number }>()
  return {
    add({ provider, plugin_version, plugin_package, launched_at, provider_config }, by) {
      // One that was never launched is nobody's.
      if (launched_at === null) return
      const key = `${provider} ${plugin_version ?? ''} ${plugin_package ?? ''} ${provider_config ?? ''}`
      const owned = { provider, plugin_version, plugin_package, launched_at, provider_config }
      const count = counts.get(key) ?? { owned, workers: 0 }
      count.workers += by
      if (count.workers === 0) counts.delete(key)
      else counts.set(key, count)
    },
    list: () => [...counts.values()].map(({ owned }) => owned),
  }
}
