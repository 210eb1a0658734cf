/** What a provider is made of, and how its plugin is told. */
import type { ProviderConfig } from '../config/load.ts'
import type { NetworkSettings } from '../config/network.ts'
import type { ProviderStatus } from './api.ts'
import type { DiscoveredPlugin } from './package.ts'

/** What a provider is: a plugin of one version, and how it is configured. */
export interface Target {
  plugin: DiscoveredPlugin
  provider: ProviderConfig
  /** Absent: nothing special, or the plugin asks for no network but loopback. */
  network?: NetworkSettings
}

export function namesOf({ plugin, provider }: Target): Pick<ProviderStatus, 'alias' | 'plugin' | 'level'> {
  const { name, version } = plugin.manifest
  const { level } = plugin.isolation
  return { alias: provider.alias, plugin: { name, version, contract: plugin.contract }, level }
}
