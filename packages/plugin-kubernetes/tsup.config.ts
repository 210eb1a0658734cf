import { defineConfig } from 'tsup'
import { plugin } from '../../tsup.preset.ts'

export default defineConfig(plugin())
