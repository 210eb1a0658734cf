/** Worker provider that makes workers of containers: see {@link dockerProvider}. */
import { definePlugin, type WorkerPlugin, type WorkerPluginManifest } from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { parseConfig } from './config.ts'
import { dockerProvider } from './provider.ts'
import { rulesOf } from './rules.ts'

const declared = manifest as unknown as WorkerPluginManifest

export const plugin: WorkerPlugin = definePlugin({
  manifest: declared,
  create: async (config, context) => {
    const endpoint = parseConfig(config)
    const rules = rulesOf(config ?? {}, 'socketPath' in endpoint ? endpoint.socketPath : undefined)
    return dockerProvider({ endpoint, context, fields: declared.capabilities.fields, rules })
  },
})

export default plugin
