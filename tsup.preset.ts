import type { Options } from 'tsup'

const common: Options = {
  format: 'esm',
  target: 'node26',
  platform: 'node',
  outDir: 'dist',
  // Declarations come from `tsc -b`, into the same folder: nothing here may wipe it.
  dts: false,
  clean: false,
  sourcemap: true,
  removeNodeProtocol: false,
}

/** A library: its dependencies stay imports. */
export function library(entry: Record<string, string>): Options {
  return { ...common, entry, splitting: true }
}

/** A plugin: one file, `dist/plugin.js`, that needs nothing but Node. */
export function plugin(): Options {
  return { ...selfContained, entry: { plugin: 'src/plugin.ts' }, splitting: false, sourcemap: false }
}

/** A program: everything it needs inside, in chunks that load when they are asked for. */
export function program(entry: Record<string, string>): Options {
  return { ...selfContained, entry, splitting: true }
}

const selfContained: Options = {
  ...common,
  noExternal: [/^(?!node:)/],
  // CommonJS packages inside an ESM file call `require` for Node's own modules.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
  esbuildOptions(options) {
    // Our own packages are bundled from their sources: no build order, no second copy of shared chunks.
    options.conditions = ['@muster/source', 'import', 'node']
    options.legalComments = 'none'
  },
}
