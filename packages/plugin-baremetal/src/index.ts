/** The plugin: processes on machines you own. */
import { definePlugin, type WorkerPlugin, type WorkerPluginManifest } from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { type BaremetalConfig, parseConfig } from './config.ts'
import { createProvider } from './provider.ts'

export const plugin: WorkerPlugin<BaremetalConfig> = definePlugin({
  manifest: manifest as WorkerPluginManifest,
  create: (config, context) => Promise.resolve(createProvider({ config: parseConfig(config), context })),
})
