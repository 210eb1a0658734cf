/** The coverage we enforce counts what child processes ran: shown on a sample, with the settings of our own runs. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { root } from './paths.mjs'

interface FileCoverage {
  statementMap: Record<string, { start: { line: number } }>
  s: Record<string, number>
  b: Record<string, number[]>
}

test('lines and branches that only a child process reaches are counted, once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-coverage-'))
  try {
    const sample = 'scripts/lib/coverage-sample'
    const settings = [
      `--coverage.include=${sample}/sample.ts`,
      '--coverage.reporter=json',
      `--coverage.reportsDirectory=${folder}`,
    ]
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', `${sample}/vitest.config.ts`, '--coverage', ...settings]
    // Its own coverage, not a part of the run that this test belongs to.
    const { NODE_V8_COVERAGE: _outer, VITEST: _vitest, MUSTER_TEST_TOTALS: _totals, ...env } = process.env
    await promisify(execFile)(process.execPath, args, { cwd: root, env })
    const report = JSON.parse(await readFile(join(folder, 'coverage-final.json'), 'utf8')) as Record<string, FileCoverage>
    const files = Object.values(report)
    expect(files).toHaveLength(1)
    expect(reachedLines(files[0])).toEqual({ 3: true, 4: true, 5: true, 6: true, 8: false, 11: true, 12: true })
    // In order: scale's default, the two ifs, the two && and ?:, and the last line. Nothing stands twice.
    expect(Object.keys(files[0]?.b ?? {})).toHaveLength(7)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

function reachedLines(file: FileCoverage | undefined): Record<number, boolean> {
  const lines: Record<number, boolean> = {}
  for (const [key, { start }] of Object.entries(file?.statementMap ?? {})) {
    lines[start.line] = (lines[start.line] ?? false) || (file?.s[key] ?? 0) > 0
  }
  return lines
}
