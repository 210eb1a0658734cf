/**
 * The way of an author and of whoever uses the plugin, on a real registry that has nothing behind it: created, installed, built, tested,
 * packed, published with a token; added, locked and run by a host that knows nothing of it; then taken back, and tampered with.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suiteWith } from '@muster/test/systems/presence'
import { mustRun, runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { findVerdaccio, packInstalled, type Verdaccio } from '@muster/test/systems/verdaccio'
import { waitFor } from '@muster/test/systems/wait'
import { beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../../..')
const pnpm = join(root, '.tools/node_modules/.bin/pnpm')
const musterBin = join(root, 'apps/host/bin/muster.mjs')
const name = '@acme/muster-plugin-shed'
const version = '0.1.0'
const ours = ['packages/core', 'packages/plugin-kit', 'packages/create-plugin']
/** A compiler, a bundler, the whole suite and a daemon, on a machine that has other things to do. */
const timeout = 600_000

beforeAll(() => {
  // In CI the stage before has built; elsewhere nobody may have.
  for (const folder of ours)
    if (!existsSync(join(root, folder, 'dist'))) execFileSync(pnpm, ['run', 'build'], { cwd: join(root, folder) })
}, timeout)

/** What an author's tools stand on, from this repository's own packages. */
async function stock(registry: Verdaccio, folder: string): Promise<void> {
  for (const one of ours) execFileSync(pnpm, ['pack', '--pack-destination', folder], { cwd: join(root, one), stdio: 'pipe' })
  for (const file of (await readdir(folder)).filter((one) => one.endsWith('.tgz')))
    await registry.publish(await readFile(join(folder, file)))
  const store = await realpath(join(root, 'node_modules/.pnpm'))
  const wanted =
    /^(?:esbuild|@esbuild\+linux-\w+|zod|typescript|@typescript\+typescript-linux-\w+|@types\+node|undici-types)@[\d.]+$/
  const exact = new Map(
    (await readFile(join(root, 'pnpm-workspace.yaml'), 'utf8'))
      .matchAll(/^ {2}'?([^':]+)'?: (\d\S*)$/gm)
      .map(([, key = '', value = '']) => [key, value]),
  )
  for (const entry of (await readdir(store)).filter((one) => wanted.test(one))) {
    const [, found = '', its = ''] = /^(.+)@([\d.]+)$/.exec(entry.replace('+', '/')) ?? []
    // Of what the tools of this repository brought along in another version, the author wants none.
    if ((exact.get(found) ?? its) === its) await registry.publish(await packInstalled(join(store, entry, 'node_modules', found)))
  }
}

suiteWith(await findVerdaccio(), 'from nothing to a worker, over a real registry,', (start) => {
  test('a plugin is created, tested, published, added and run; taken back or changed, it is refused', { timeout }, async () => {
    await using registry = await start()
    await using temp = await tempFolder('author')
    const at = (...path: string[]): string => join(temp.path, ...path)
    await mkdir(at('tarballs'))
    await stock(registry, at('tarballs'))
    await mkdir(at('home'))
    await writeFile(at('home/.npmrc'), registry.npmrc)
    const env = {
      PATH: `${join(process.execPath, '..')}:${process.env['PATH']}`,
      HOME: at('home'),
      NO_COLOR: '1',
      npm_config_update_notifier: 'false',
      SHED_TOKEN: registry.token,
    }
    const npm = (...args: string[]): Promise<string> =>
      mustRun(['npm', '--no-audit', '--no-fund', ...args], { cwd: at('shed'), env, timeoutMs: timeout })

    // The author.
    const created = await mustRun(['npm', 'create', '--yes', '@muster/plugin', name, 'shed'], { cwd: temp.path, env })
    expect(created).toContain('npm test')
    await npm('install', '--ignore-scripts')
    await npm('run', 'check')
    expect(await npm('test')).toMatch(/: \d+ passed, 0 failed, \d+ not declared\n$/)
    const report = JSON.parse(await readFile(at('shed/conformance-report.json'), 'utf8')) as { artifact: { tree: string } }
    const packed = await npm('run', 'pack')
    expect(packed).toContain(`tested ${report.artifact.tree}`)
    const sha512 = /^sha512 (\S+)$/m.exec(packed)?.[1]
    await npm('publish', './acme-muster-plugin-shed-0.1.0.tgz', '--access', 'public')

    // Whoever uses it.
    await mkdir(at('host'))
    const muster = (...args: string[]): ReturnType<typeof runProcess> =>
      runProcess([process.execPath, musterBin, ...args], {
        cwd: at('host'),
        env: { ...env, MUSTER_SOURCE: '1' },
        timeoutMs: 120_000,
      })
    const plugins = {
      registries: { '@acme': { url: registry.url, token: { env: 'SHED_TOKEN' } } },
      policy: { minReleaseAge: '24h', exempt: ['@acme/*'] },
      plugins: {},
    }
    await writeFile(at('host/plugins.json'), JSON.stringify(plugins))
    const unsigned = await muster('plugins', 'add', name, '--yes')
    expect([unsigned.code, unsigned.stdout + unsigned.stderr]).toEqual([1, expect.stringContaining('no-trust')])
    const added = await muster('plugins', 'add', name, '--yes', '--waive', 'it was made here')
    expect([added.code, added.stdout + added.stderr]).toEqual([0, expect.stringContaining('written')])
    const lock = JSON.parse(await readFile(at('host/plugins.lock.json'), 'utf8')) as { plugins: Record<string, object> }
    // What the suite has passed is what runs, and the lock says so.
    const conformance = { result: 'pass', failed: 0 }
    expect(lock.plugins['shed']).toMatchObject({ package: name, version, sha512, conformance })
    expect((await muster('plugins', 'show', 'shed')).stdout).toMatch(/^conformance +its author says pass: \d+ passed, 0 failed/m)

    await writeFile(
      at('host/muster.yaml'),
      JSON.stringify({
        host: { data: 'data', listen: '127.0.0.1:0' },
        providers: { shed: { plugin: 'shed', config: { dir: at('workers') } } },
        pools: { shed: { placement: ['shed'], worker: { work: 'command' } } },
      }),
    )
    await mkdir(at('workers'))
    const daemon = await startProcess([process.execPath, musterBin, 'up'], {
      cwd: at('host'),
      env: { ...env, MUSTER_SOURCE: '1' },
    })
    try {
      await waitFor(
        'the provider to be ready',
        async () => !daemon.running() || (await muster('providers')).stdout.includes(' ready '),
        { timeoutMs: 120_000 },
      )
      const ran = await muster('run', '--pool', 'shed', '--', 'sh', '-c', `echo ran >${at('proof')}; exit 7`)
      expect([ran.code, daemon.running() ? '' : daemon.stderr(), ran.stderr]).toEqual([7, '', expect.any(String)])
      expect(await readFile(at('proof'), 'utf8')).toBe('ran\n')
      await waitFor('the worker to be gone', () => readdir(at('workers')), {
        until: (left) => left.length === 0,
        timeoutMs: 60_000,
      })
    } finally {
      await daemon.stop()
    }

    // What is locked stays, whatever becomes of the registry: a host with empty hands asks it anew.
    expect((await muster('plugins', 'mirror', '--out', 'mirror')).code).toBe(0)
    const verify = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await muster('plugins', 'verify', '--data', at('nothing'), ...args)
      return `${code} ${stdout}${stderr}`
    }
    expect(await verify()).toMatch(/^0 /)
    const file = registry.fileOf(name, version)
    const bytes = await readFile(file)
    await writeFile(file, Buffer.concat([bytes, Buffer.from('more')]))
    expect(await verify()).toMatch(/^1 [^]*other-bytes/)
    await npm('unpublish', `${name}@${version}`, '--force')
    expect(await verify()).toMatch(/^1 [^]*no-(?:package|version)/)
    expect(await verify('--mirror', 'mirror', '--frozen')).toMatch(/^0 .*as locked/)
  })
})
