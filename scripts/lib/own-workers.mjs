// A daemon of our own for a while, whose local workers have this repository's packages: Muster checks itself on it.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { startDaemon } from './daemon.mjs'
import { root } from './paths.mjs'
import { installFirstParty } from './plugins.mjs'
import { quietly } from './step.mjs'

/**
 * Starts it, lends it to `use`, and leaves nothing of it.
 * @template T
 * @param {(daemon: import('./daemon.mjs').Daemon) => Promise<T>} use gets a daemon with the pool `check`
 * @returns {Promise<T>}
 */
export async function withOwnWorkers(use) {
  const folder = makeFolder()
  try {
    // Workers of other users pass through to their own folders, and see nothing here.
    chmodSync(folder, 0o711)
    const packages = await reachable(join(root, 'node_modules/.pnpm'), folder)
    // Beside the workers, not above them: a command that looks for the daemon of its folder must find none.
    const host = join(folder, 'host')
    mkdirSync(host, { mode: 0o700 })
    const config = { file: join(host, 'muster.yaml'), data: join(host, '.muster') }
    writeFileSync(config.file, configOf({ folder, packages }))
    await installFirstParty({ folder: join(config.data, 'packages'), registry: join(host, 'plugins.json') })
    const daemon = await startDaemon(config)
    try {
      return await use(daemon)
    } finally {
      try {
        await daemon.empty()
      } finally {
        await daemon.stop()
        daemon.client.close()
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A short path: the temporary folder of a worker lies below, and the path of a socket in it has 107 bytes at most. */
function makeFolder() {
  try {
    return mkdtempSync('/tmp/muster-ck-')
  } catch {
    return mkdtempSync(join(tmpdir(), 'muster-check-'))
  }
}

/** JSON is YAML. @param {{ folder: string, packages: string }} places */
function configOf({ folder, packages }) {
  const mount = {
    target: 'node_modules/.pnpm',
    source: { kind: 'bind', path: packages },
    ...(isRoot() ? { readOnly: true } : {}),
  }
  return JSON.stringify({
    // Port 0: whatever is free. Everything here goes over the socket.
    host: { data: '.muster', listen: '127.0.0.1:0', plugins: 'plugins.json' },
    providers: { local: { plugin: 'baremetal', config: { transport: 'local', root: join(folder, 'w'), binds: [packages] } } },
    pools: {
      check: {
        placement: ['local'],
        worker: { work: 'hold', lifetime: '1h', grace: '2s', mounts: [mount] },
        // Each job uses a core or more.
        scale: { min: 0, max: Math.max(2, cpus().length) },
      },
    },
  })
}

/**
 * The folder itself where the workers' users can reach it. Under root they are others, and a closed folder may lie above it, as a home:
 * then a copy, of hard links where that can be.
 * @param {string} source @param {string} folder
 */
async function reachable(source, folder) {
  if (!isRoot() || openToAll(source)) return source
  const copy = join(folder, 'packages')
  await quietly('cp', ['-al', source, copy]).catch(async () => {
    rmSync(copy, { recursive: true, force: true })
    await quietly('cp', ['-a', source, copy])
  })
  return copy
}

/** @param {string} path */
function openToAll(path) {
  for (let at = path; at !== '/'; at = dirname(at)) if ((statSync(at).mode & 0o005) !== 0o005) return false
  return true
}

function isRoot() {
  return process.getuid?.() === 0
}
