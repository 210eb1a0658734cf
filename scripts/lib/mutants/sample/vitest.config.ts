import { defineConfig } from 'vitest/config'
import ours from '../../../../vitest.config.ts'

const { projects: _projects, reporters: _reporters, coverage: _coverage, ...test } = ours.test ?? {}

export default defineConfig({
  root: process.cwd(),
  test: { ...test, include: ['scripts/lib/mutants/sample/sample.run.ts'] },
})
