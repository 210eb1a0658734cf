/** Worker provider that makes workers of Pods: see {@link kubernetesProvider}. */
import { definePlugin, type WorkerPlugin, type WorkerPluginManifest } from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { createBucket } from './api/bucket.ts'
import { connect } from './api/client.ts'
import { createCluster } from './client.ts'
import { parseConfig } from './config.ts'
import { kubernetesProvider } from './provider.ts'

const declared = manifest as unknown as WorkerPluginManifest

export const plugin: WorkerPlugin = definePlugin({
  manifest: declared,
  create: async (input, context) => {
    const { source, namespace, tenant, rate, copies, network } = parseConfig(input)
    const client = connect(source, { userAgent: `muster/${declared.version}`, bucket: createBucket(rate) })
    return kubernetesProvider({
      cluster: createCluster(client, namespace),
      context,
      fields: declared.capabilities.fields,
      copies,
      network,
      ...(tenant === undefined ? {} : { tenant }),
    })
  },
})

export default plugin
