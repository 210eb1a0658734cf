// `npm start [-- --once] [--folder DIR]`: the daemon on its defaults, with the first-party plugins installed as anyone's, and a real pipeline
// on it. With --once it ends after the pipeline with the pipeline's exit code and leaves nothing, else the daemon stays up until Ctrl-C.
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { discover } from '@muster/client'
import { hookSignals, musterOf, runPipeline, showOnTerminal } from '@muster/pipeline'
import { ensureConfig, withFreePort } from './lib/config.mjs'
import { startDaemon } from './lib/daemon.mjs'
import { root } from './lib/paths.mjs'
import { installFirstParty } from './lib/plugins.mjs'

const { once, folder } = options()
/** @type {import('./lib/daemon.mjs').Daemon | undefined} */
let daemon
const cancel = new AbortController()
const force = new AbortController()
const unhook = hookSignals(cancel, force)
try {
  mkdirSync(folder, { recursive: true })
  let config = await ensureConfig(folder)
  const plugins = await installFirstParty({ folder: join(config.data, 'packages'), registry: config.registry })
  say(`plugins: ${plugins.join(', ')}`)
  cancel.signal.throwIfAborted()
  daemon = await startDaemon(config).catch(async (error) => {
    config = await withFreePort(config, error)
    return startDaemon(config)
  })
  say(
    daemon.ours
      ? `the daemon is ready at http://${config.listen}`
      : `a daemon of this folder runs already at http://${config.listen}`,
  )
  const code = await showPipeline(daemon)
  if (once || cancel.signal.aborted) await leave(daemon)
  else await stay(daemon, { config, code })
  process.exitCode = code
} catch (error) {
  if (!cancel.signal.aborted) console.error(`muster: ${error instanceof Error ? error.message : String(error)}`)
  await daemon?.stop()
  process.exitCode = cancel.signal.aborted ? 130 : 1
} finally {
  unhook()
  daemon?.client.close()
}

function options() {
  try {
    const { values } = parseArgs({
      options: { once: { type: 'boolean', default: false }, folder: { type: 'string', default: root } },
    })
    return { once: values.once, folder: resolve(values.folder) }
  } catch (error) {
    console.error(`muster: ${/** @type {Error} */ (error).message}\nusage: npm start [-- [--once] [--folder DIR]]`)
    process.exit(2)
  }
}

/** @param {import('./lib/daemon.mjs').Daemon} running @returns {Promise<number>} */
async function showPipeline({ client, ended, log }) {
  const show = showOnTerminal(process)
  const file = join(root, 'examples/pipeline/pipeline.yaml')
  const run = runPipeline(file, {
    muster: musterOf(client),
    pool: 'local',
    onEvent: show,
    cancel: cancel.signal,
    force: force.signal,
  })
  // Without its daemon a pipeline only waits for one.
  const died = ended.then((code) => {
    throw new Error(`the daemon ended with ${code} meanwhile; ${log} says why`)
  })
  died.catch(() => undefined)
  try {
    return (await Promise.race([run, died])).exitCode
  } finally {
    show.close()
  }
}

/** The pools' own workers end too, then the daemon: nothing is left. @param {import('./lib/daemon.mjs').Daemon} running */
async function leave(running) {
  if (!running.ours) return
  await running.empty()
  await running.stop()
  say('the daemon is stopped, its workers are gone: nothing is left')
}

/**
 * Up until Ctrl-C.
 * @param {import('./lib/daemon.mjs').Daemon} running
 * @param {{ config: import('./lib/config.mjs').Config, code: number }} told
 */
async function stay(running, { config, code }) {
  const idle = (await running.client.workers.list({ limit: 500 })).items.filter((worker) => worker.lease === undefined)
  const address = await discover({ data: config.data })
  const socket = 'socket' in address ? ` and ${address.socket}` : ''
  const kept = idle.length === 0 ? '' : `; pool local keeps ${idle.length} warm for the next run`
  console.error(`
muster: the pipeline ended with ${code}${kept}.
muster: the daemon serves http://${config.listen}${socket}
muster: its token is in ${join(config.data, 'admin.token')}, its log in ${running.log}

Try, in another terminal in this folder:
  npx --no-install muster run --pool local -- echo hello
  npx --no-install muster workers
  npx --no-install muster pools
  npx --no-install muster why pool local
  npm run pipeline -- run examples/pipeline/pipeline.yaml --pool local
`)
  if (!running.ours) return
  say('Ctrl-C stops the daemon and its idle workers')
  const asked = new Promise((wake) => cancel.signal.addEventListener('abort', wake, { once: true }))
  const code2 = await Promise.race([running.ended, asked.then(() => undefined)])
  if (code2 !== undefined) throw new Error(`the daemon ended with ${code2}; ${running.log} says why`)
  await leave(running)
}

/** @param {string} text */
function say(text) {
  console.error(`muster: ${text}`)
}
