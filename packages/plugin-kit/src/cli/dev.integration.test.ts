/** A plugin under development on a real daemon: each build takes over there, and it ends, whatever becomes of its author. */
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type MusterClient } from '@muster/client'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../../../..')
const minimal = join(root, 'examples/provider-minimal')
const timeoutMs = 120_000
const name = 'dev-minimal'

interface Site extends AsyncDisposable {
  at(path: string): string
  client: MusterClient
  daemon(): Promise<RunningProcess>
  dev(...args: string[]): Promise<RunningProcess>
  /** Of the plugin's main module. */
  edit(text: string): Promise<void>
  /** What its probe says, or nothing when it is not there. */
  notes(): Promise<string>
}

async function openSite(): Promise<Site> {
  const temp: TempFolder = await tempFolder('dev')
  const at = (path: string): string => join(temp.path, path)
  await mkdir(at('plugin'))
  for (const file of ['package.json', 'README.md', 'muster-plugin.json', 'src'])
    await cp(join(minimal, file), at(`plugin/${file}`), { recursive: true })
  await cp(join(root, 'packages/create-plugin/template/dev.json'), at('plugin/dev.json'))
  // What it is built from is in this package's own.
  await symlink(join(import.meta.dirname, '../../node_modules'), at('plugin/node_modules'))
  await mkdir(at('host'))
  const host = { data: 'data', listen: '127.0.0.1:0', socket: { path: at('muster.sock') }, development: true }
  await writeFile(at('host/muster.yaml'), JSON.stringify({ host, providers: {}, pools: {} }))
  await writeFile(at('host/plugins.json'), JSON.stringify({ plugins: {} }))
  const client = connect({ socket: at('muster.sock') }, { patienceMs: timeoutMs })
  const started: RunningProcess[] = []
  const start = async (...command: string[]): Promise<RunningProcess> => {
    const env = { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' }
    const one = await startProcess([process.execPath, ...command], { cwd: at('host'), env })
    started.push(one)
    return one
  }
  return {
    at,
    client,
    async daemon() {
      const daemon = await start(join(root, 'apps/host/bin/muster.mjs'), 'up')
      await waitFor('the daemon', async () => !daemon.running() || daemon.stderr().includes('"msg":"ready"'), { timeoutMs })
      return daemon
    },
    dev: (...args) => start(join(root, 'packages/plugin-kit/bin/muster-plugin.mjs'), 'dev', '-C', at('plugin'), ...args),
    edit: async (text) => {
      const source = await readFile(join(minimal, 'src/plugin.ts'), 'utf8')
      await writeFile(at('plugin/src/plugin.ts'), source.replace('no isolation: same user', text))
    },
    async notes() {
      const found = (await client.providers.list()).find((one) => one.name === name)
      return found?.state === 'ready' ? found.notes.join() : ''
    },
    async [Symbol.asyncDispose]() {
      client.close()
      for (const one of started.reverse()) await one.stop()
      await temp.remove()
    },
  }
}

test('builds take over on a daemon until its author, or the deadline, ends it', { timeout: 3 * timeoutMs }, async () => {
  await using site = await openSite()
  const { client } = site
  const until = (what: string, look: () => Promise<boolean>): Promise<unknown> => waitFor(what, look, { timeoutMs })
  const gone = async (): Promise<boolean> =>
    [...(await client.pools.list()), ...(await client.providers.list())].every((one) => one.name !== name)
  const daemon = await site.daemon()

  const first = await site.dev()
  await until('the banner', async () => !first.running() || first.stdout().includes(`muster run --pool ${name}`))
  expect([first.stdout(), first.stderr()]).toEqual([expect.stringContaining('DEVELOPMENT  muster-plugin-minimal@0.1.0'), ''])
  const run = await client.runs.create({ pool: name, command: ['sh', '-c', 'exit 7'] })
  expect(await client.runs.wait(run.id)).toMatchObject({ outcome: 'failed', exit: { code: 7 } })
  expect(await client.conditions()).toMatchObject([{ scope: 'provider', name, type: 'development' }])

  // Another configuration leaves it as it is.
  const written = JSON.parse(await readFile(site.at('host/muster.yaml'), 'utf8')) as { host: object }
  await writeFile(site.at('host/muster.yaml'), JSON.stringify({ ...written, host: { ...written.host, reconcile: '20s' } }))
  expect(await client.apply()).toMatchObject({ applied: true, changes: [{ path: 'host.reconcile' }] })
  const { pid } = await client.providers.get(name)
  await site.edit('the second build')
  await until('the second build', async () => (await site.notes()) === 'the second build')
  expect((await client.providers.get(name)).pid).not.toBe(pid)
  await writeFile(site.at('plugin/src/plugin.ts'), 'const = 1\n')
  await until('what is wrong with the third', async () => /^src\/plugin\.ts:1:\d+: /m.test(first.stdout()))
  expect(await site.notes()).toBe('the second build')
  first.kill('SIGINT')
  expect(await first.exited).toMatchObject({ code: 0 })
  expect(first.stdout()).toContain(`${name} is taken away`)
  await until('it to be gone', gone)
  expect(await client.conditions()).toEqual([])

  // Nobody is left who would end it, and the daemon is another one.
  await site.edit('the fourth build')
  const second = await site.dev('--for', '1h')
  await until('the fourth build', async () => !second.running() || (await site.notes()) === 'the fourth build')
  second.kill('SIGKILL')
  await second.exited
  daemon.kill('SIGKILL')
  await daemon.exited
  await site.daemon()
  await until('it to be there again', async () => (await site.notes()) === 'the fourth build')
  const sections = JSON.parse(
    (await readFile(site.at('plugin/dev.json'), 'utf8')).replace('${dir}', site.at('plugin/.muster-dev')),
  ) as object
  const soon = new Date(Date.now() + 1000).toISOString()
  await client.dev.attach(name, { folder: site.at('plugin'), until: soon, ...sections })
  await until('the daemon to end it', gone)
  await until('nothing to be kept', async () => (await readFile(site.at('host/data/development.json'), 'utf8')) === '[]\n')

  // No file of the deployment has heard of it.
  expect((await readdir(site.at('host'))).sort()).toEqual(['data', 'muster.yaml', 'plugins.json'])
  expect(JSON.parse(await readFile(site.at('host/plugins.json'), 'utf8'))).toEqual({ plugins: {} })
})
