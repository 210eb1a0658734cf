/** Worker provider that makes workers of Pods: see {@link kubernetesProvider}. */
import { definePlugin, type WorkerPlugin, type WorkerPluginManifest } from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { createCluster } from './client.ts'
import { parseConfig } from './config.ts'
import { interimApi } from './interim.ts'
import { kubernetesProvider } from './provider.ts'

const declared = manifest as unknown as WorkerPluginManifest

export const plugin: WorkerPlugin = definePlugin({
  manifest: declared,
  create: async (input, context) => {
    const { kubeconfig = '', context: name, namespace = 'muster' } = parseConfig(input)
    const cluster = createCluster(interimApi(kubeconfig, name), namespace)
    return kubernetesProvider({ cluster, context, fields: declared.capabilities.fields })
  },
})

export default plugin
