import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { floor } from './scripts/lib/coverage.mjs'
import { LongestFirst } from './scripts/lib/sequencer.mjs'
import { workspaces } from './scripts/lib/workspaces.mjs'

const cores = availableParallelism()

interface Kind {
  suffix: string
  timeout: number
  /** Files at once; absent: one for each core. */
  atOnce?: number
}

const kinds: Record<string, Kind> = {
  // Pure or in-process: anything slower than this is in the wrong file. With every line counted, beside other jobs, all takes longer.
  unit: { suffix: 'test', timeout: process.env['MUSTER_COVERAGE_PART'] ? 60_000 : 10_000 },
  // Suites run against a plugin in its own process.
  contract: { suffix: 'contract.test', timeout: 120_000, atOnce: cores + 1 },
  // Daemons, clients and real systems: much of it is waiting for them.
  integration: { suffix: 'integration.test', timeout: 180_000, atOnce: cores + 1 },
}

/** Globs of test files that a larger run leaves out, since it has had them elsewhere. */
const except = (process.env['MUSTER_TEST_EXCEPT'] ?? '').split(' ').filter((glob) => glob !== '')

export default defineConfig({
  test: {
    // Node itself runs the sources, as it does in child processes: so what is tested is what runs, and the coverage of
    // parent and child has the same offsets and adds up.
    experimental: { viteModuleRunner: false },
    setupFiles: ['./scripts/lib/coverage-setup.mjs'],
    sequence: { sequencer: LongestFirst },
    reporters: ['default', './scripts/lib/reporter.mjs'],
    execArgv: ['--conditions=@muster/source'],
    coverage: {
      provider: 'v8',
      autoAttachSubprocess: true,
      // A failed test is told anyway; that the floor does not hold beside it should be known in the same run.
      reportOnFailure: true,
      reportsDirectory: 'coverage',
      reporter: ['json', 'html', 'text-summary'],
      include: ['{packages,apps}/*/src/**/*.ts'],
      exclude: [
        '**/*.test.ts',
        '**/*.test.helper.ts',
        '**/generated/**',
        '**/bench/**',
        'apps/host/src/{faults,plugins/testing}/**',
        // Runs before a plugin in its process, which Node lets write nothing: what it tells is what the tests of the audit read.
        'packages/plugin-kit/src/audit/recorder.ts',
      ],
      // A part of the tests reaches a part of the code: scripts/test.mjs holds the floor over all parts together.
      thresholds: process.env['MUSTER_COVERAGE_PART']
        ? {}
        : Object.fromEntries(workspaces().map((path) => [`${path}/src/**`, floor])),
    },
    projects: Object.entries(kinds).map(([name, { suffix, timeout, atOnce }], order) => ({
      extends: true as const,
      test: {
        name,
        // One container engine for the run, where a suite may use real systems.
        globalSetup: name === 'unit' ? [] : ['./test/systems/setup.ts'],
        include: [`{packages,apps,test,examples,scripts}/**/*.${suffix}.ts`],
        exclude: [
          '**/node_modules/**',
          '**/dist/**',
          'examples/*/project/**',
          ...except,
          ...(name === 'unit' ? ['**/*.contract.test.ts', '**/*.integration.test.ts'] : []),
        ],
        // One kind after the other: what needs a machine's time does not disturb what is quick.
        sequence: { groupOrder: order },
        ...(atOnce === undefined ? {} : { maxWorkers: atOnce }),
        testTimeout: timeout,
        hookTimeout: timeout,
      },
    })),
  },
})
