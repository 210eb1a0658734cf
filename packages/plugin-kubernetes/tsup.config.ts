import { defineConfig, type Options } from 'tsup'
import { plugin } from '../../tsup.preset.ts'

/**
 * What the vendor's client loads beside the kubeconfig: another HTTP client, all of the API as classes, and logins that clusters have not taken
 * since Kubernetes 1.26. It is four fifths of a bundle, and none of it is called here.
 */
const unused = /^(?:undici|jsonpath-plus|\.\/gen\/index\.js|\.\/middleware\.js)$/

const withoutUnused: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'without-unused',
  setup(build) {
    build.onResolve({ filter: unused }, ({ path, importer }) =>
      /@kubernetes[/\\]client-node[/\\]dist[/\\]/.test(importer) ? { path, namespace: 'unused' } : undefined,
    )
    build.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
  },
}

const base = plugin()

export default defineConfig({ ...base, esbuildPlugins: [withoutUnused] })
