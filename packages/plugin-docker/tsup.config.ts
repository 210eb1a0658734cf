import { defineConfig, type Options } from 'tsup'
import { plugin } from '../../tsup.preset.ts'

/**
 * What dockerode loads for building images and for ssh, neither of which this plugin does: three quarters of the bundle, 80 ms of its
 * first call, and with ssh2 a native addon, which a plugin package must not have.
 */
const unused = /^(?:@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2)$/

const withoutUnused: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'without-unused',
  setup(build) {
    build.onResolve({ filter: unused }, ({ path }) => ({ path, namespace: 'unused' }))
    build.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
  },
}

export default defineConfig({ ...plugin(), esbuildPlugins: [withoutUnused] })
