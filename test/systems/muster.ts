/** A real daemon for tests of what stands on it: started, asked, killed, emptied. Its plugins are the built packages of this repository. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, rm, writeFile } from 'node:fs/promises'
import { request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { type ProcessExit, type RunningProcess, startProcess } from './process.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface MusterOptions {
  /** Names of providers and their `config`; the plugin has the same name as in `plugins`. */
  providers: Record<string, { plugin: string; config: object }>
  pools: Record<string, object>
  /** Of the API, for workers that must find it again; absent: one that the system chooses at each start. */
  port?: number
  /** Environment of the daemon besides that of the test. */
  env?: Record<string, string>
}

export interface MusterDaemon {
  /** 0711: workers of other users pass through. */
  readonly folder: string
  readonly data: string
  readonly config: string
  start(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<ProcessExit>
  /** Asks the API over the socket; an answer of 400 and above is an error. */
  ask<T>(path: string, method?: 'GET' | 'POST'): Promise<T>
  /** What is there now, that of earlier daemons of this folder too. */
  workers(): Promise<{ id: string; pool: string; provider: string; phase: string; lease?: string }[]>
  /** What it wrote. */
  output(): string
  /** Ends all workers, then the daemon, then the folder. */
  [Symbol.asyncDispose](): Promise<void>
}

const root = join(import.meta.dirname, '../..')
/** Slow machines are no fault. */
const PATIENCE_MS = 120_000

export async function startMuster({ providers, pools, port = 0, env = {} }: MusterOptions): Promise<MusterDaemon> {
  const temp = await tempFolder('daemon')
  const folder = temp.path
  await chmod(folder, 0o711)
  const config = join(folder, 'muster.yaml')
  const data = join(folder, 'data')
  const socket = join(folder, 'muster.sock')
  const names = [...new Set(Object.values(providers).map((provider) => provider.plugin))]
  const plugins = Object.fromEntries(
    names.map((name) => [
      name,
      { package: `@muster/plugin-${name}`, version: '0.1.0', source: { folder: join(root, `packages/plugin-${name}`) } },
    ]),
  )
  await writeFile(join(folder, 'plugins.json'), JSON.stringify({ plugins }))
  // JSON is YAML.
  await writeFile(
    config,
    JSON.stringify({
      host: { data: 'data', listen: `127.0.0.1:${port}`, socket: { path: socket } },
      providers: placed(providers, folder),
      pools,
    }),
  )
  const past: RunningProcess[] = []

  const ask = async <T>(path: string, method: 'GET' | 'POST' = 'GET'): Promise<T> => {
    const asked = request({ socketPath: socket, path, method, agent: false, timeout: 60_000 }).end()
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    const text = Buffer.concat(await answer.toArray()).toString()
    if ((answer.statusCode ?? 500) >= 400) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`)
    return JSON.parse(text) as T
  }
  const workers: MusterDaemon['workers'] = async () =>
    (await ask<{ items: Awaited<ReturnType<MusterDaemon['workers']>> }>('/v1/workers?limit=500')).items

  async function start(): Promise<void> {
    const daemon = await startProcess([process.execPath, join(root, 'apps/host/bin/muster.mjs'), 'up', '-c', config], {
      cwd: folder,
      env: { ...process.env, MUSTER_SOURCE: '1', ...env },
    })
    past.push(daemon)
    await waitFor(
      'every provider of the daemon to be ready',
      async () => {
        if (!daemon.running()) return true
        const { items } = await ask<{ items: { state: string }[] }>('/v1/providers')
        return items.every((provider) => provider.state === 'ready')
      },
      { timeoutMs: PATIENCE_MS },
    )
    if (!daemon.running()) throw new Error(`the daemon ended:\n${daemon.stderr().slice(-4000)}`)
  }

  async function empty(): Promise<void> {
    for (const name of Object.keys(pools)) await ask(`/v1/pools/${name}/drain`, 'POST')
    for (const { id } of await workers()) await ask(`/v1/workers/${id}/terminate`, 'POST').catch(() => undefined)
    await waitFor('all workers to be gone', workers, { until: (left) => left.length === 0, timeoutMs: PATIENCE_MS })
  }

  const daemon: MusterDaemon = {
    folder,
    data,
    config,
    start,
    ask,
    workers,
    output: () => past.map((one) => one.stderr()).join('--- the next daemon ---\n'),
    async kill() {
      const last = past.at(-1)
      last?.kill('SIGKILL')
      return last?.exited ?? { code: null, signal: null }
    },
    async [Symbol.asyncDispose]() {
      try {
        if (past.at(-1)?.running() !== true) await start()
        await empty()
      } finally {
        for (const one of past) await one.stop()
        await temp.remove()
      }
    },
  }
  await start()
  return daemon
}

/** Local workers have their folders here too, so that they go with all else. */
function placed(providers: MusterOptions['providers'], folder: string): MusterOptions['providers'] {
  const entries = Object.entries(providers).map(([name, provider]) =>
    provider.plugin === 'baremetal'
      ? [name, { ...provider, config: { root: join(folder, `workers-of-${name}`), ...provider.config } }]
      : [name, provider],
  )
  return Object.fromEntries(entries) as MusterOptions['providers']
}

/** Removes the folder that the default configuration gives to local workers under root, outside of the daemon's data. */
export async function removeLocalPlace(data: string): Promise<void> {
  const digest = createHash('sha256').update(`local\0${data}`).digest('hex').slice(0, 12)
  await rm(`/var/lib/muster/local-${digest}`, { recursive: true, force: true })
}
