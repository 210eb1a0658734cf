import { defineConfig } from 'tsup'
import { program } from '../../tsup.preset.ts'

export default defineConfig({
  ...program({ cli: 'src/cli.ts', recorder: 'src/audit/recorder.ts' }),
  // esbuild is a native program, and the contract is the one that the author builds against.
  noExternal: [/^(?!node:|esbuild$|@muster\/core(?:$|\/))/],
  external: ['esbuild', '@muster/core', '@muster/core/testing'],
})
