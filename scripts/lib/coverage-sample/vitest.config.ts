import { defineConfig } from 'vitest/config'
import ours from '../../../vitest.config.ts'

const {
  projects: _projects,
  reporters: _reporters,
  coverage: { thresholds: _thresholds, ...coverage } = {},
  ...test
} = ours.test ?? {}

export default defineConfig({
  root: process.cwd(),
  test: { ...test, coverage, include: ['scripts/lib/coverage-sample/sample.run.ts'] },
})
