/** How long a start takes: the daemon from its built bundle, and each bundled plugin up to `configure`, beside a bare Node. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@muster/client'
import { discover } from '../plugins/discover.ts'
import { defaultUsers } from '../plugins/ground.ts'
import { createRedactor } from '../plugins/redactor.ts'
import { startSession } from '../plugins/session.ts'
import { openUsers } from '../plugins/users.ts'
import type { Figure } from './report.ts'
import { quantile } from './stats.ts'

const root = join(import.meta.dirname, '../../../..')
const plugins = {
  null: { package: 'plugin-null', config: {} },
  local: { package: 'plugin-baremetal', config: { transport: 'local' } },
  docker: { package: 'plugin-docker', config: { socket: '/nonexistent.sock' } },
}

export async function benchReady(samples: number): Promise<Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-bench-'))
  try {
    const entries = Object.entries(plugins).map(([alias, one]) => [
      alias,
      { package: `@muster/${one.package}`, version: '0.1.0', source: { folder: join(root, 'packages', one.package) } },
    ])
    await writeFile(join(dir, 'plugins.json'), JSON.stringify({ plugins: Object.fromEntries(entries) }))
    const times = new Map<string, number[]>()
    const note = (name: string, ms: number): void => void times.set(name, [...(times.get(name) ?? []), ms])
    // In turn, so that all meet the same machine.
    for (let n = 0; n < samples; n++) {
      note('node', await bareNode())
      note('daemon', await daemonReady(join(dir, `site-${n}`), dir))
      for (const alias of Object.keys(plugins) as (keyof typeof plugins)[]) note(alias, await pluginReady(dir, { alias, n }))
    }
    const bare = times.get('node') ?? []
    const row = (key: string, name: string, aim: string): Figure => {
      const own = times.get(key) ?? []
      return {
        name: `${name}, P50 / P95`,
        value: `${quantile(own, 0.5).toFixed(0)} / ${quantile(own, 0.95).toFixed(0)} ms`,
        baseline: `a Node that ends at once: ${quantile(bare, 0.5).toFixed(0)} / ${quantile(bare, 0.95).toFixed(0)} ms`,
        ratio: `P50 × ${(quantile(own, 0.5) / quantile(bare, 0.5)).toFixed(1)}`,
        aim,
      }
    }
    return [
      row('daemon', 'daemon: from nothing to an API that answers', '< 1 s'),
      ...Object.keys(plugins).map((alias) => row(alias, `plugin ${alias}: described and configured`, '< 150 ms')),
    ]
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function bareNode(): Promise<number> {
  const begin = performance.now()
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit')
  return performance.now() - begin
}

async function daemonReady(site: string, dir: string): Promise<number> {
  const config = `${site}.yaml`
  const host = `host: { data: ${site}, plugins: ${join(dir, 'plugins.json')}, listen: "127.0.0.1:0", socket: { path: ${site}.sock } }`
  await writeFile(config, `${host}\nproviders: { p: { plugin: 'null' } }\npools: { p: { placement: [p] } }\n`)
  const client = connect({ socket: `${site}.sock` }, { patienceMs: 0 })
  const begin = performance.now()
  const daemon = spawn(process.execPath, [join(root, 'apps/host/bin/muster.mjs'), 'up', '-c', config], { stdio: 'ignore' })
  while (!(await client.version().then(Boolean, () => false))) {
    if (daemon.exitCode !== null) throw new Error(`the daemon ended with ${daemon.exitCode}`)
    await sleep(5)
  }
  const ms = performance.now() - begin
  client.close()
  daemon.kill('SIGTERM')
  await once(daemon, 'exit')
  return ms
}

async function pluginReady(dir: string, { alias, n }: { alias: keyof typeof plugins; n: number }): Promise<number> {
  const { plugins: found, problems } = await discover(join(dir, 'plugins.json'), {
    stores: [join(dir, 'store')],
    shown: 'plugins.json',
  })
  const plugin = found.find((one) => one.alias === alias)
  if (plugin === undefined) throw new Error(JSON.stringify(problems))
  const begin = performance.now()
  const child = await startSession({
    plugin,
    provider: { name: alias, alias, config: plugins[alias].config, secrets: {} },
    owner: 'bench',
    users: openUsers({ range: defaultUsers, data: dir }),
    dataDir: join(dir, `${alias}-${n}`),
    redactor: createRedactor(),
    onLine: () => undefined,
  })
  const ms = performance.now() - begin
  child.kill()
  await child.exited
  return ms
}
