import { readFile } from 'node:fs/promises'
import { defineConfig, type Options } from 'tsup'
import { plugin } from '../../tsup.preset.ts'

/**
 * What dockerode loads for building images and for ssh, neither of which it does here: most of the bundle, and 80 ms of its first call.
 * Our own tunnel has ssh2, without the native addons that it can do without and a plugin package must not have.
 */
const unused = /^(?:@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2)$/
const native = /^cpu-features$/
/** The one file of ssh2 that asks for its own addon, and how. */
const cryptoFile = /ssh2[/\\]lib[/\\]protocol[/\\]crypto\.js$/
const addon = "require('./crypto/build/Release/sshcrypto.node')"

const withoutUnused: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'without-unused',
  setup(build) {
    build.onResolve({ filter: unused }, ({ path, importer }) =>
      path === 'ssh2' && !importer.includes('docker-modem') ? undefined : { path, namespace: 'unused' },
    )
    build.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
    build.onLoad({ filter: cryptoFile }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      if (!source.includes(addon)) throw new Error(`${path} does not ask for its addon as it did`)
      return { contents: source.replace(addon, 'undefined') }
    })
    // As where it was not built: ssh2 looks for it and goes on without.
    build.onResolve({ filter: native }, ({ path }) => ({ path, namespace: 'native' }))
    build.onLoad({ filter: /.*/, namespace: 'native' }, () => ({ contents: 'throw new Error("no native addons here")' }))
  },
}

const base = plugin()

export default defineConfig({
  ...base,
  esbuildPlugins: [withoutUnused],
  esbuildOptions(options, context) {
    base.esbuildOptions?.(options, context)
    // ssh2 has a program of WebAssembly inside, and only asks where a file with it would be.
    options.define = { ...options.define, __dirname: '""' }
  },
})
