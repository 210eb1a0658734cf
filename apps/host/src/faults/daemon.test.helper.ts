/** A real daemon in its own process for tests of faults: started, killed, started again on the same data. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type MusterClient } from '@muster/client'
import { type ProcessExit, type RunningProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'

/** How long a cause is waited for: many daemons share the cores, and a slow machine is no fault. */
export const patienceMs = 180_000
/** Between two looks: each costs the daemon a call, and hundreds of proofs share the cores. */
export const everyMs = 100

const root = join(import.meta.dirname, '../../../..')
const fresh = process.env['CI'] === 'true' || process.env['MUSTER_TEST_BUILT'] === '1'

export interface DaemonFiles {
  /** YAML under `providers:`. */
  providers: string
  /** YAML under `pools:`. */
  pools: string
  /** Alias → folder name under packages/. */
  plugins: Record<string, string>
  /** YAML under `host:`, besides data. */
  host?: string
}

export interface Site {
  readonly dir: string
  readonly data: string
  readonly config: string
  /** Where the API is: a path that is known before the first start, and stays when the data folder goes elsewhere. */
  readonly socket: string
  /** Speaks over the socket; repeats its calls while the daemon is away. */
  readonly client: MusterClient
  /** As `client`, but tells a refusal at once. */
  readonly impatient: MusterClient
  /** Resolves when the process runs; use `ready` for more. */
  start(env?: Record<string, string>, args?: readonly string[]): Promise<RunningProcess>
  /** Until the API answers and every provider is ready. */
  ready(): Promise<void>
  /** SIGTERM and the exit. */
  stop(): Promise<ProcessExit>
  /** SIGKILL and the exit. */
  kill(): Promise<ProcessExit>
  /** What the daemons of this site wrote so far. */
  output(): string
  dispose(): Promise<void>
}

/**
 * Writes the files of a deployment. Its plugins are the built packages of this repository. `counted`: its daemons are ended in order, and
 * what they reach counts as covered; hundreds that are killed would cost more memory to read than they tell.
 */
export async function makeSite(
  { providers, pools, plugins, host = '' }: DaemonFiles,
  { counted = false }: { counted?: boolean } = {},
): Promise<Site> {
  const folder: TempFolder = await tempFolder('site')
  const dir = folder.path
  const data = join(dir, 'data')
  const config = join(dir, 'muster.yaml')
  await mkdir(data, { mode: 0o700 })
  const entries = Object.entries(plugins).map(([alias, name]) => [
    alias,
    { package: `@muster/${name}`, version: '0.1.0', source: { folder: join(root, 'packages', name) } },
  ])
  await writeFile(join(dir, 'plugins.json'), JSON.stringify({ plugins: Object.fromEntries(entries) }, null, 2))
  await writeFile(
    config,
    `host:\n  data: data\n  listen: 127.0.0.1:0\n  socket: { path: muster.sock }\n${indent(host)}providers:\n${indent(providers)}pools:\n${indent(pools)}`,
  )
  const socket = join(dir, 'muster.sock')
  const client = connect({ socket }, { patienceMs })
  const impatient = connect({ socket }, { patienceMs: 0 })
  const past: RunningProcess[] = []

  return {
    dir,
    data,
    config,
    socket,
    client,
    impatient,
    async start(env = {}, args = []) {
      const process_ = await startProcess(
        [process.execPath, join(root, 'apps/host/bin/muster.mjs'), 'up', '-c', config, ...args],
        {
          cwd: dir,
          env: {
            ...process.env,
            // An own key keeps Node from handing the variable on.
            ...(counted ? {} : { NODE_V8_COVERAGE: undefined }),
            // Where the bundle is known to be fresh, it is used: it starts in a fraction of the time.
            ...(fresh && !(counted && process.env['MUSTER_TEST_SOURCE'] === '1') ? {} : { MUSTER_SOURCE: '1' }),
            ...env,
          },
        },
      )
      past.push(process_)
      return process_
    },
    async ready() {
      await waitFor(
        'every provider to be ready',
        async () => {
          const daemon = past.at(-1)
          if (daemon !== undefined && !daemon.running()) return true
          return (await client.providers.list()).every((one) => one.state === 'ready')
        },
        { timeoutMs: patienceMs, everyMs },
      )
    },
    async stop() {
      const daemon = past.at(-1)
      if (daemon === undefined) throw new Error('no daemon was started')
      return daemon.stop()
    },
    async kill() {
      const daemon = past.at(-1)
      if (daemon === undefined) throw new Error('no daemon was started')
      daemon.kill('SIGKILL')
      return daemon.exited
    },
    output: () => past.map((one) => one.stderr()).join('--- next daemon ---\n'),
    async dispose() {
      client.close()
      impatient.close()
      for (const one of past) await one.stop()
      await folder.remove()
    },
  }
}

function indent(yaml: string): string {
  return yaml === '' ? '' : `${yaml.trim().replace(/^/gm, '  ')}\n`
}
