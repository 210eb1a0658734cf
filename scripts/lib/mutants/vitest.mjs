// Runs some unit tests once, with a mutant or without, in a process group and a temporary folder of their own.
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../paths.mjs'
import { failuresOf } from '../totals.mjs'

/** What the hook in the test's process reads. @typedef {{ url: string, source: string, mark: string }} Planted */

/**
 * @typedef {object} TestRun
 * @property {'passed' | 'failed' | 'hung'} outcome hung: ended from here, after its time
 * @property {boolean} loaded the file with the mutant was read
 * @property {string} failed what failed first, and how
 * @property {number} seconds
 */

/** @typedef {{ file: string, source: string }} Change */

/** @param {string} [config] another configuration of vitest, from the top of the repository */
export function testRunner(config) {
  const folder = mkdtempSync(join(tmpdir(), 'muster-mutants-'))
  /** @type {Set<ReturnType<typeof startGroup>>} */
  const groups = new Set()
  let count = 0

  /**
   * @param {string[]} tests @param {{ change?: Change, timeoutMs: number }} how
   * @returns {Promise<TestRun>}
   */
  async function run(tests, { change, timeoutMs }) {
    count += 1
    const own = join(folder, String(count))
    mkdirSync(own)
    // Some tests look at whether others may pass through it.
    for (const path of [folder, own]) chmodSync(path, 0o711)
    const mark = join(own, 'loaded')
    const totals = join(own, 'totals')
    const began = performance.now()
    const { code, hung } = await vitest(argumentsFor(tests, { config, mutant: change !== undefined }), timeoutMs, {
      TMPDIR: own,
      // All runs read the same files but for one.
      NODE_COMPILE_CACHE: join(folder, 'compiled'),
      MUSTER_TEST_TOTALS: totals,
      ...(change === undefined ? {} : plant(own, { ...change, mark })),
    })
    const failed = existsSync(failuresOf(totals)) ? readFileSync(failuresOf(totals), 'utf8') : ''
    const loaded = existsSync(mark)
    rmSync(own, { recursive: true, force: true, maxRetries: 5 })
    return {
      outcome: hung ? 'hung' : code === 0 ? 'passed' : 'failed',
      loaded,
      failed,
      seconds: (performance.now() - began) / 1000,
    }
  }

  /** @param {string[]} args @param {number} timeoutMs @param {Record<string, string>} env @returns {Promise<{ code: number | null, hung: boolean }>} */
  async function vitest(args, timeoutMs, env) {
    const group = startGroup(args, env)
    groups.add(group)
    let hung = false
    const timer = setTimeout(() => {
      hung = true
      group.end()
    }, timeoutMs)
    try {
      return { code: await group.ended, hung }
    } finally {
      clearTimeout(timer)
      groups.delete(group)
    }
  }

  return {
    run,
    close() {
      for (const group of groups) group.end()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** Node in a group of its own: a test that never ends is ended with all that it started. @param {string[]} args @param {Record<string, string>} env */
export function startGroup(args, env) {
  const child = spawn(process.execPath, args, { cwd: root, detached: true, stdio: 'ignore', env: environment(env) })
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  let left = child.pid
  child.once('close', end)
  function end() {
    if (left === undefined) return
    try {
      process.kill(-left, 'SIGKILL')
    } catch {
      // All of it has ended.
    }
    left = undefined
  }
  return { ended, end }
}

/** @param {string} own @param {Change & { mark: string }} change */
function plant(own, { file, source, mark }) {
  const planted = join(own, 'mutant.json')
  writeFileSync(planted, JSON.stringify({ url: pathToFileURL(join(root, file)).href, source, mark }))
  const hook = `--import=${pathToFileURL(join(import.meta.dirname, 'hook.mjs')).href}`
  return { MUSTER_MUTANT: planted, NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} ${hook}`.trim() }
}

/** @param {string[]} tests @param {{ config: string | undefined, mutant: boolean }} how */
function argumentsFor(tests, { config, mutant }) {
  return [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    ...(config === undefined ? ['--configLoader', 'native', '--project', 'unit'] : ['--config', config]),
    '--reporter',
    './scripts/lib/reporter.mjs',
    '--bail',
    '1',
    ...(mutant ? ['--maxWorkers', '1'] : ['--testTimeout', '60000', '--hookTimeout', '60000']),
    ...tests,
  ]
}

/** @param {Record<string, string>} more */
function environment(more) {
  // Its own run, not a part of the one that this may be called from.
  const { VITEST: _vitest, NODE_V8_COVERAGE: _coverage, MUSTER_COVERAGE_PART: _part, ...outer } = process.env
  return { ...outer, ...more }
}
