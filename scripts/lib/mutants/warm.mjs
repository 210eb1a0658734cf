// Starts the process that runs tests with mutants, gives it its jobs one by one, and starts it again when it hangs or has grown.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from '../paths.mjs'
import { startGroup } from './vitest.mjs'

/** @typedef {import('./warm-runner.mjs').Job} Job */
/** @typedef {import('./warm-runner.mjs').Answer} Answer */
/** @typedef {Answer | { outcome: 'hung', hit: true }} Ran */
/** @typedef {{ run: (job: Job, silentMs?: number) => Promise<Ran>, renew: () => void, close: () => void }} Warm */

/** What was read anew is never let go: a process that has grown to this is started again. */
const mostMb = 1500
/** Its first file with all that it imports, on a machine that does much else. */
const startMs = 120_000
/** Without a test that ends; each has a time of its own, and ends by itself long before. */
const hungMs = 30_000

/**
 * @param {{ first: string, count: number, sources: Record<string, string> }} room first: a test file; sources: those with switches; count:
 * their highest number
 * @returns {Warm}
 */
export function warmTests({ first, count, sources }) {
  const folder = mkdtempSync(join(tmpdir(), 'muster-mutants-'))
  chmodSync(folder, 0o711)
  /** @type {ReturnType<typeof start> | undefined} */
  let now
  let starts = 0

  function start() {
    starts += 1
    const own = join(folder, String(starts))
    mkdirSync(own)
    chmodSync(own, 0o711)
    const socket = join(own, 'jobs')
    const given = join(own, 'given.json')
    writeFileSync(given, JSON.stringify({ socket, count, sources }))
    /** @type {import('node:net').Socket | undefined} */
    let connection
    /** @type {((answer: Answer | undefined) => void) | undefined} */
    let told
    let moved = () => {}
    const server = createServer((one) => {
      connection = one
      one.on('error', () => one.destroy())
      // An empty line: one more test has ended.
      createInterface(one).on('line', (line) => (line === '' ? moved() : told?.(JSON.parse(line))))
    })
    server.listen(socket)
    const child = startGroup(argumentsFor(first), { TMPDIR: own, MUSTER_MUTANTS_WARM: given })
    const gone = () => told?.(undefined)
    child.ended.then(gone, gone)

    /** @param {number} limitMs @returns {Promise<Ran>} */
    async function answered(limitMs) {
      const answer = await new Promise((resolve) => {
        let left = limitMs / 1000
        // By steps of time that this process saw: one that was stopped for a while, with its machine, is not late.
        const steps = setInterval(() => (left -= 1) <= 0 && told?.(undefined), 1000)
        moved = () => (left = limitMs / 1000)
        told = (one) => {
          clearInterval(steps)
          resolve(one)
        }
      })
      told = undefined
      return answer ?? { outcome: 'hung', hit: true }
    }
    return {
      ready: answered(startMs),
      /** @param {Job} job @param {number} limitMs */
      ask(job, limitMs) {
        connection?.write(`${JSON.stringify(job)}\n`)
        return answered(limitMs)
      },
      close() {
        child.end()
        connection?.destroy()
        server.close()
        rmSync(own, { recursive: true, force: true, maxRetries: 5 })
      },
    }
  }

  function renew() {
    now?.close()
    now = undefined
  }

  return {
    async run(job, silentMs = hungMs) {
      if (now === undefined) {
        now = start()
        const ready = await now.ready
        if (ready.outcome !== 'passed') throw new Error(`${first}: it must be green first: ${JSON.stringify(ready)}`)
      }
      const ran = await now.ask(job, silentMs)
      if (ran.outcome === 'hung' || ran.mb > mostMb) renew()
      return ran
    },
    renew,
    close() {
      renew()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** @param {string} first */
function argumentsFor(first) {
  return [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    ...['--config', 'scripts/lib/mutants/warm.config.ts', '--configLoader', 'native', '--reporter', 'dot', '--maxWorkers', '1'],
    ...['--testTimeout', String(startMs), '--hookTimeout', String(startMs), first],
  ]
}
