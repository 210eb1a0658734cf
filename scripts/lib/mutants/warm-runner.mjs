// The runner of vitest for mutants: one process that stays, with the switched sources of a room in it. It is told over a socket which
// mutant is active and which tests of which file run, and answers how they ended. A file is read again for each, what it imports is not,
// but for a mutant that acts while files are read.
import { readFileSync } from 'node:fs'
import { registerHooks, stripTypeScriptTypes } from 'node:module'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { TestRunner } from 'vitest'
import { root } from '../paths.mjs'
import { installSwitch } from './switched.mjs'

/**
 * @typedef {object} Job
 * @property {string} file the tests, from the top of the repository
 * @property {number} active a mutant; 0: none
 * @property {number[]} [only] of its tests, by their place; absent: all
 * @property {boolean} fresh reads all that it imports anew
 * @property {number} [testMs] how long a test may take that does not say so itself
 * @property {boolean} [reach] tells what each test reaches
 */

/** What one test reaches, or what is between them. @typedef {{ ms: number, ids: number[] }} Reached */

/**
 * @typedef {object} Answer
 * @property {'passed' | 'failed' | 'timed out'} outcome
 * @property {boolean} hit the active mutant was reached
 * @property {number} [failed] the place of the test that failed; absent: the file could not be read
 * @property {string} [why]
 * @property {number} mb
 * @property {{ early: number[], loose: number[], tests: Reached[] }} [reach] early: while files were read; loose: between tests
 */

/** @typedef {{ socket: string, count: number, sources: Record<string, string> }} Given */

/** @type {Given} */
const given = JSON.parse(readFileSync(/** @type {string} */ (process.env['MUSTER_MUTANTS_WARM']), 'utf8'))
const top = pathToFileURL(`${root}/`).href
const { hits, activate } = installSwitch(given.count)
readRoom()

/** @param {any} config */
// oxlint-disable-next-line import/no-default-export -- what vitest asks of a runner
export default function warmRunner(config) {
  const runner = new TestRunner(config)
  const jobs = jobsFrom(given.socket)
  const testMs = config.testTimeout
  let count = 0
  /** @type {Job} */
  let job = { file: '', active: 0, fresh: false }
  /** @type {any[]} */
  let tests = []
  /** @type {Answer} */
  let answer
  /** @type {NonNullable<Answer['reach']>} */
  let reach

  return Object.assign(runner, {
    /** @param {string} path */
    importFile(path) {
      count += 1
      return import(`${pathToFileURL(path).href}?${job.fresh ? 'fresh' : 'again'}=${count}`)
    },
    async onBeforeCollect() {
      // What the process that started this one need not know.
      Object.assign(runner, {
        async onTaskUpdate() {},
        onCollectStart: TestRunner.prototype.onCollectStart,
        onCollected,
        onAfterRunTask,
      })
      Object.assign(runner, { cancelRun: false })
      Object.assign(config, { testTimeout: job.testMs ?? testMs, hookTimeout: job.testMs ?? testMs })
      reach = { early: [], loose: [], tests: [] }
      answer = { outcome: 'passed', hit: false, mb: 0 }
      hits.fill(0)
      activate(job.active)
    },
    /** @param {any} test */
    async onBeforeRunTask(test) {
      reach.loose.push(...taken())
      await TestRunner.prototype.onBeforeRunTask.call(runner, test)
    },
    /** @param {any[]} files */
    async onAfterRunFiles(files) {
      activate(0)
      TestRunner.prototype.onAfterRunFiles.call(runner, files)
      const [file] = files
      if (answer.outcome === 'passed' && file.result?.state === 'fail') fail(file)
      if (job.reach) reach.loose.push(...taken())
      answer.hit ||= hits[job.active] === 1
      answer.mb = Math.round(process.memoryUsage().rss / 2 ** 20)
      const next = await jobs.next(job.reach ? { ...answer, reach } : answer)
      if (next === undefined) return
      job = next
      // The loop that runs the files of this process comes to this one then.
      const list = /** @type {any} */ (runner).workerState.ctx.files
      list.push({ ...list[0], filepath: fileURLToPath(new URL(next.file, top)) })
    },
  })

  /** @param {any[]} files */
  async function onCollected(files) {
    tests = files.flatMap(testsOf)
    reach.early = taken()
    if (job.only !== undefined) for (const [at, test] of tests.entries()) if (!job.only.includes(at)) test.mode = 'skip'
  }

  /** @param {any} test */
  async function onAfterRunTask(test) {
    TestRunner.prototype.onAfterRunTask.call(runner, test)
    jobs.goOn()
    const { state, duration = 0 } = test.result ?? {}
    if (job.reach) reach.tests[tests.indexOf(test)] = { ms: Math.ceil(duration), ids: taken() }
    if (state !== 'fail' || answer.outcome !== 'passed') return
    fail(test, tests.indexOf(test))
    Object.assign(runner, { cancelRun: true })
  }

  /** @param {any} task @param {number} [at] */
  function fail(task, at) {
    const why = String(task.result?.errors?.[0]?.message ?? 'a hook failed')
    const outcome = /timed out in \d+ ?ms/.test(why) ? 'timed out' : 'failed'
    Object.assign(answer, { outcome, why: `${task.name}: ${why}`, ...(at === undefined ? {} : { failed: at }) })
  }

  /** All that was reached since. */
  function taken() {
    /** @type {number[]} */
    const ids = []
    if (hits[job.active] === 1) answer.hit = true
    if (!job.reach) return ids
    for (let id = hits.indexOf(1); id !== -1; id = hits.indexOf(1, id + 1)) ids.push(id)
    hits.fill(0)
    return ids
  }
}

/** @param {any} task @returns {any[]} */
function testsOf(task) {
  return task.type === 'test' ? [task] : task.tasks.flatMap(testsOf)
}

/** @param {string} path */
function jobsFrom(path) {
  const socket = connect(path)
  const lines = createInterface(socket)[Symbol.asyncIterator]()
  return {
    goOn: () => void socket.write('\n'),
    /** Answers the last one and waits for the next. @param {Answer} answer @returns {Promise<Job | undefined>} */
    async next(answer) {
      socket.write(`${JSON.stringify(answer)}\n`)
      const { value, done } = await lines.next()
      if (!done) return JSON.parse(value)
      socket.destroy()
      return undefined
    },
  }
}

/** Sources of this repository are read from here: their types are taken away once, however often they are run. */
function readRoom() {
  /** @type {Map<string, string>} */
  const stripped = new Map()
  /** @type {Map<string, string>} */
  const packages = new Map()
  registerHooks({
    resolve(specifier, context, next) {
      const { parentURL = '' } = context
      const fresh = /\?fresh=\d+$/.exec(parentURL)?.[0] ?? ''
      if (!isOurs(parentURL)) return next(specifier, context)
      if (/^\.\.?\/.*\.ts$/.test(specifier))
        return { url: new URL(specifier, parentURL).href + fresh, format: 'module', shortCircuit: true }
      const key = `${specifier} ${new URL('.', parentURL).href}`
      const known = packages.get(key)
      const url = known ?? next(specifier, context).url
      packages.set(key, url)
      return isOurs(url) && url.endsWith('.ts')
        ? { url: url + fresh, format: 'module', shortCircuit: true }
        : next(specifier, context)
    },
    load(url, context, next) {
      const [plain = url] = url.split('?', 1)
      if (!isOurs(url) || !plain.endsWith('.ts')) return next(url, context)
      const path = plain.slice(top.length)
      const source = stripped.get(plain) ?? stripTypeScriptTypes(given.sources[path] ?? readFileSync(new URL(plain), 'utf8'))
      stripped.set(plain, source)
      return { format: 'module', source, shortCircuit: true }
    },
  })
}

/** @param {string} url */
function isOurs(url) {
  return url.startsWith(top) && !url.includes('/node_modules/')
}
