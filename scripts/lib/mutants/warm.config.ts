import { defineConfig } from 'vitest/config'
import ours from '../../../vitest.config.ts'

const { projects: _projects, reporters: _reporters, coverage: _coverage, setupFiles: _setup, ...test } = ours.test ?? {}

export default defineConfig({
  root: process.cwd(),
  test: {
    ...test,
    include: ['{packages,apps}/**/*.test.ts', 'scripts/lib/mutants/sample/*.run.ts'],
    runner: './scripts/lib/mutants/warm-runner.mjs',
  },
})
