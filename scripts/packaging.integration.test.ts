/** What is published works where nothing of this repository is: as packages, as an image, as a unit of systemd. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { findDocker } from '@muster/test/systems/docker'
import { askEngine, engineJson, splitOutput } from '@muster/test/systems/engine'
import { removeImage } from '@muster/test/systems/images'
import { removeLocalPlace } from '@muster/test/systems/muster'
import { suiteWith } from '@muster/test/systems/presence'
import { runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { beforeAll, expect, test } from 'vitest'
import { buildDaemonImage, ensureBuilt, pnpm } from './lib/daemon-image.test.helper.ts'

type Command = [string, ...string[]]

const root = join(import.meta.dirname, '..')
const patience = { timeoutMs: 120_000 }

beforeAll(ensureBuilt, 300_000)

/** PATH without this repository's own Node: that of the machine, which may be older. */
function plainPath(): string {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((entry) => !entry.includes('/.tools/') && !entry.includes('/node_modules/'))
    .join(delimiter)
}

test('the packed host and a packed plugin, installed into an empty folder, run a command under the Node that is there', async () => {
  await using temp = await tempFolder('packages')
  const { path } = temp
  for (const name of ['apps/host', 'packages/plugin-baremetal'])
    execFileSync(pnpm, ['pack', '--pack-destination', path], { cwd: join(root, name), stdio: 'pipe' })
  const tarballs = (await readdir(path)).filter((name) => name.endsWith('.tgz')).sort()
  const env = { ...process.env, PATH: plainPath(), MUSTER_SOURCE: undefined, NODE_OPTIONS: undefined }
  await writeFile(join(path, 'package.json'), '{ "private": true }')
  const install: Command = ['npm', 'install', '--no-audit', '--no-fund', ...tarballs.map((name) => `./${name}`)]
  const installed = await runProcess(install, { cwd: path, env, timeoutMs: 300_000 })
  expect({ code: installed.code, stderr: installed.code === 0 ? '' : installed.stderr }).toEqual({ code: 0, stderr: '' })
  const own = JSON.parse(await readFile(join(path, 'node_modules/@muster/plugin-baremetal/package.json'), 'utf8')) as {
    version: string
  }
  const source = { folder: 'node_modules/@muster/plugin-baremetal' }
  const entry = { package: '@muster/plugin-baremetal', version: own.version, source }
  await writeFile(join(path, 'plugins.json'), JSON.stringify({ plugins: { baremetal: entry } }))
  await writeFile(
    join(path, 'muster.yaml'),
    'host: { listen: "127.0.0.1:0" }\nproviders: { local: { plugin: baremetal, config: { transport: local } } }\npools: { local: { placement: [local] } }\n',
  )
  const muster: Command = ['npx', '--no-install', 'muster']
  await using daemon = await startProcess([...muster, 'up', '--log-format', 'json'], { cwd: path, env })
  await waitFor('the daemon', () => daemon.stderr().includes('"msg":"ready"'), patience)
  const ran = await runProcess([...muster, 'run', '--pool', 'local', '--', 'sh', '-c', 'echo from the worker; exit 3'], {
    cwd: path,
    env,
    timeoutMs: 120_000,
  })
  expect([ran.code, ran.stdout]).toEqual([3, 'from the worker\n'])
  const { pid } = JSON.parse(await readFile(join(path, '.muster/endpoint.json'), 'utf8')) as { pid: number }
  process.kill(pid, 'SIGTERM')
  await daemon.exited
  await removeLocalPlace(join(path, '.muster'))
}, 600_000)

test('the unit of systemd is one that systemd takes', async (context) => {
  const absent = existsSync('/usr/bin/systemd-analyze') ? undefined : 'there is no systemd-analyze'
  await requireSystem(context, { name: 'systemd-analyze', probe: () => absent })
  await using temp = await tempFolder('unit')
  // Its program is looked for as well.
  const program = join(temp.path, 'muster')
  await writeFile(program, '#!/bin/sh\n')
  await chmod(program, 0o755)
  const unit = await readFile(join(root, 'packaging/muster.service'), 'utf8')
  expect(unit).toContain('ExecStart=/usr/local/bin/muster up')
  // The start after that would make an empty data folder at the old path.
  expect(unit).toContain('\nRestartPreventExitStatus=66\n')
  // A daemon that fell while its disk was full is there again once there is room.
  expect(unit.slice(0, unit.indexOf('[Service]'))).toContain('\nStartLimitIntervalSec=0\n')
  const file = join(temp.path, 'muster.service')
  await writeFile(file, unit.replace('/usr/local/bin/muster', program))
  const { code, stderr } = await runProcess(['/usr/bin/systemd-analyze', 'verify', '--man=no', file])
  expect({ code, said: stderr.split('\n').filter((line) => line.includes('muster.service')) }).toEqual({ code: 0, said: [] })
})

test('the check of the image fails where no daemon answers', async () => {
  await using temp = await tempFolder('health')
  const file = await readFile(join(root, 'packaging/Dockerfile'), 'utf8')
  const [, text = ''] = /^HEALTHCHECK .* CMD (\[.*\])$/m.exec(file) ?? []
  const [, , ...words] = JSON.parse(text) as string[]
  const argv: Command = [process.execPath, join(root, 'apps/host/bin/muster.mjs'), ...words]
  expect(await runProcess(argv, { cwd: temp.path })).toMatchObject({ code: 1 })
})

suiteWith(await findDocker(), 'the image of the daemon', ({ socket }) => {
  test('is built from packed packages, runs as no root, runs a command, and ends in order', async () => {
    await using temp = await tempFolder('image')
    const tag = 'muster-test/daemon:1'
    const base = await buildDaemonImage(socket, tag, temp.path)
    try {
      const [image, below] = await Promise.all(
        [tag, base].map((name) =>
          engineJson<{ Size: number; Config: { User: string } }>(socket, { path: `/images/${name}/json` }),
        ),
      )
      expect(image?.Config.User).toBe('10001:10001')
      // What it adds to its base; a forgotten folder of tools would be a hundred times that.
      expect((image?.Size ?? Infinity) - (below?.Size ?? 0)).toBeLessThan(20 * 2 ** 20)
      const { Id } = await engineJson<{ Id: string }>(socket, {
        method: 'POST',
        path: '/containers/create',
        body: { Image: tag },
      })
      try {
        await engineJson(socket, { method: 'POST', path: `/containers/${Id}/start` })
        const log = async (): Promise<string> => {
          const { body } = await askEngine(socket, { path: `/containers/${Id}/logs`, query: { stdout: '1', stderr: '1' } })
          const { stdout, stderr } = splitOutput(body)
          return stdout + stderr
        }
        await waitFor('the daemon in the container', async () => (await log()).includes('"msg":"ready"'), patience)
        const command = ['muster', 'run', '--pool', 'local', '--', 'sh', '-c', 'id -u; exit 3']
        const exec = await engineJson<{ Id: string }>(socket, {
          method: 'POST',
          path: `/containers/${Id}/exec`,
          body: { Cmd: command, AttachStdout: true, AttachStderr: true },
        })
        const said = await askEngine(socket, { method: 'POST', path: `/exec/${exec.Id}/start`, body: {}, ...patience })
        const { ExitCode } = await engineJson<{ ExitCode: number }>(socket, { path: `/exec/${exec.Id}/json` })
        expect([ExitCode, splitOutput(said.body).stdout]).toEqual([3, '10001\n'])
        await engineJson(socket, { method: 'POST', path: `/containers/${Id}/stop`, query: { t: '60' }, timeoutMs: 90_000 })
        const { State } = await engineJson<{ State: { ExitCode: number } }>(socket, { path: `/containers/${Id}/json` })
        expect([State.ExitCode, await log()]).toEqual([0, expect.stringContaining('"msg":"stopped"') as string])
      } finally {
        await engineJson(socket, { method: 'DELETE', path: `/containers/${Id}`, query: { force: '1', v: '1' } })
      }
    } finally {
      await removeImage(socket, tag)
    }
  }, 600_000)
})
