// The daemon as `npm start` sees it: found or started, emptied, stopped.
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { connect, discover } from '@muster/client'
import { musterBin } from './paths.mjs'

/** Ready in about a second; on a busy machine with a cold disk the first start takes several. */
const readyMs = 60_000
/** An idle worker ends within its grace of some seconds. */
const emptyMs = 60_000
/** How often is looked, while something is awaited. */
const lookMs = 50

/**
 * @typedef {object} Daemon
 * @property {import('@muster/client').MusterClient} client
 * @property {boolean} ours started here, and to be stopped here
 * @property {string} log what it wrote
 * @property {Promise<number>} ended its exit code; never, when it is not ours
 * @property {() => Promise<void>} empty ends every worker that nobody holds, and lets no new one be kept
 * @property {() => Promise<number>} stop workers that somebody holds go on
 */

/**
 * The daemon of a configuration: the one that runs already, or a new one.
 * @param {{ file: string, data: string }} config absolute paths
 * @returns {Promise<Daemon>}
 */
export async function startDaemon({ file, data }) {
  const log = join(data, 'daemon.log')
  const running = await find(file)
  if (running) {
    const ended = /** @type {Promise<number>} */ (new Promise(() => undefined))
    return { client: running, ours: false, log, ended, empty: async () => undefined, stop: async () => 0 }
  }
  mkdirSync(data, { recursive: true, mode: 0o700 })
  if (existsSync(log)) renameSync(log, `${log}.before`)
  const output = openSync(log, 'a', 0o600)
  // A group of its own: Ctrl-C at the terminal must not take it from under a pipeline that still cleans up.
  const child = spawn(process.execPath, [musterBin, 'up', '-c', file], {
    cwd: join(file, '..'),
    stdio: ['ignore', output, output],
    detached: true,
  })
  closeSync(output)
  /** @type {Promise<number>} */
  const ended = new Promise((resolve) => {
    child.on('error', () => resolve(125))
    child.on('close', (code) => resolve(code ?? 125))
  })
  const alive = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null
  const stop = () => {
    if (alive()) child.kill('SIGTERM')
    return ended
  }
  const deadline = performance.now() + readyMs
  for (;;) {
    const client = await find(file)
    if (client) await openPools(client)
    if (client) return { client, ours: true, log, ended, empty: () => emptyPools(client), stop }
    if (!alive()) throw new Error(`the daemon ended before it was ready:\n${lastLines(log)}`)
    if (performance.now() > deadline) {
      await stop()
      throw new Error(`the daemon was not ready after ${readyMs / 1000} s:\n${lastLines(log)}`)
    }
    await pause(lookMs)
  }
}

/** @param {string} file */
async function find(file) {
  try {
    const client = connect(await discover({ config: file }))
    await client.version()
    return client
  } catch {
    return undefined
  }
}

/** Why pools are drained at an end; the next start knows them by it, and leaves what a person drained. */
const leaving = 'npm start has ended'

/** @param {import('@muster/client').MusterClient} client */
async function openPools(client) {
  for (const { name, state, wish } of await client.pools.list())
    if (state === 'draining' && wish?.reason === leaving) await client.pools.resume(name)
}

/**
 * Drains all pools and waits until nothing of them is left but what somebody holds.
 * @param {import('@muster/client').MusterClient} client
 */
async function emptyPools(client) {
  const pools = await client.pools.list()
  for (const { name, state } of pools)
    if (state !== 'draining') await client.pools.drain(name, state === 'active' ? { reason: leaving } : {})
  const deadline = performance.now() + emptyMs
  for (;;) {
    const { items } = await client.workers.list({ limit: 500 })
    const left = items.filter((worker) => worker.lease === undefined)
    if (left.length === 0) return
    if (performance.now() > deadline)
      throw new Error(
        `workers that do not end: ${left.map(({ id, provider, phase }) => `${id} of ${provider} (${phase})`).join(', ')}`,
      )
    await pause(lookMs)
  }
}

/** @param {string} file */
function lastLines(file) {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-20).join('\n')
}
