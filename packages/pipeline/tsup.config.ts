import { defineConfig } from 'tsup'
import { library } from '../../tsup.preset.ts'

export default defineConfig(library({ index: 'src/index.ts', cli: 'src/cli.ts' }))
