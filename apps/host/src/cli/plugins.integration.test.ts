/** `muster plugins` as its user types it, against a registry on loopback, and against none at all. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { describe, expect, test } from 'vitest'
import { startTestRegistry, type TestRegistry } from '../plugins/testing/npm-registry.ts'
import { packPlugin, type Packed } from '../plugins/testing/pack.ts'
import { fixtureManifest } from '../plugins/testing/package.ts'
import { mirrorFixture, versionText } from '../plugins/testing/versions.ts'
import { muster as start, type MusterExit } from './muster.test.helper.ts'

const timeout = 120_000
const bin = join(import.meta.dirname, '../../bin/muster.mjs')

interface Site extends AsyncDisposable {
  registry: TestRegistry
  path: string
  publish(version: string, packed?: Packed): Promise<void>
  plugins(...args: string[]): Promise<MusterExit>
  file(name: string): Promise<string>
}

async function openSite(): Promise<Site> {
  const temp = await tempFolder('plugins')
  const registry = await startTestRegistry()
  const { path } = temp
  await writeFile(
    join(path, 'plugins.json'),
    JSON.stringify({ registries: { default: { url: registry.url } }, plugins: {} }, null, 2),
  )
  return {
    registry,
    path,
    async publish(version, packed = {}) {
      registry.publish('@acme/plugin-cloud', version, {
        tarball: await packPlugin({ name: '@acme/plugin-cloud', version, ...packed }),
        published: '2026-01-01T00:00:00.000Z',
      })
    },
    plugins: (...args) => start(['plugins', ...args], { cwd: path, counted: true }),
    file: (name) => readFile(join(path, name), 'utf8'),
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]()
      await temp[Symbol.asyncDispose]()
    },
  }
}

const waived = ['--yes', '--waive', 'read it'] as const
const told = ({ code, stdout, stderr }: MusterExit): [number | null, string] => [code, stdout.text + stderr.text]

/** One that runs. */
async function publishFixture({ registry, path }: Site): Promise<void> {
  const built = join(path, 'built')
  await mirrorFixture(built, ['1.0.0'])
  const tarball = await readFile(join(built, fixtureManifest.name, '1.0.0.tgz'))
  registry.publish(fixtureManifest.name, '1.0.0', { tarball, published: '2026-01-01T00:00:00.000Z' })
}

/** A daemon with nothing but its configuration, the lock and the mirror; only its own loopback is there. */
async function startsFrom(site: Site, alone: readonly [string, ...string[]]): Promise<void> {
  await writeFile(
    join(site.path, 'plugins.json'),
    JSON.stringify({ ...JSON.parse(await site.file('plugins.json')), mirror: 'mirror' }),
  )
  await writeFile(join(site.path, 'muster.yaml'), versionText('fresh', {}))
  const [command, ...args] = alone
  const script = 'ip link set lo up && exec "$@"'
  await using daemon = await startProcess([command, ...args, 'sh', '-c', script, 'sh', process.execPath, bin, 'up'], {
    cwd: site.path,
    env: { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' },
  })
  const state = await waitFor('the provider is ready', async () => {
    const { stdout } = await start(['providers', '--json'], { cwd: site.path })
    return /"state": ?"ready"/.exec(stdout.text)?.[0]
  })
  expect([state, daemon.running()]).toEqual(['"state": "ready"', true])
}

describe('muster plugins', () => {
  test('from nothing to a locked plugin, a newer one, and back to nothing', { timeout }, async () => {
    await using site = await openSite()
    // That of a daemon, which keeps what was unpacked.
    await mkdir(join(site.path, '.muster'))
    await site.publish('1.0.0')
    const manifest = await site.file('plugins.json')

    // Nobody agreed: shown, and nothing is written.
    const shown = await site.plugins('add', '@acme/plugin-cloud', '--waive', 'read it')
    expect(told(shown)).toEqual([
      1,
      expect.stringMatching(/^\+ cloud: @acme\/plugin-cloud 1\.0\.0\n[^]*vouches for it \(read it\)[^]*agree with --yes/),
    ])
    expect(await site.file('plugins.json')).toBe(manifest)

    expect(told(await site.plugins('add', '@acme/plugin-cloud', ...waived))).toEqual([
      0,
      expect.stringContaining('written: plugins.json and its lock'),
    ])
    expect(JSON.parse(await site.file('plugins.json'))).toMatchObject({
      plugins: { cloud: { package: '@acme/plugin-cloud', version: '^1.0.0' } },
    })
    expect(told(await site.plugins())).toEqual([
      0,
      expect.stringMatching(/cloud +@acme\/plugin-cloud +1\.0\.0 +the registry +locked/),
    ])

    await site.publish('1.1.0', { manifest: { secrets: ['token'] } })
    expect(told(await site.plugins('lock', ...waived))).toEqual([0, expect.stringContaining('the lock fits: nothing changes')])
    expect(told(await site.plugins('update', '--dry-run', '--waive', 'x'))).toEqual([
      0,
      expect.stringMatching(
        /~ cloud: @acme\/plugin-cloud 1\.0\.0 → 1\.1\.0\n[^]*asks for more than before:\n {4}\+ secrets token\n[^]*nothing was written/,
      ),
    ])
    const json = await site.plugins('update', 'cloud', '--json', ...waived)
    expect(JSON.parse(json.stdout.text)).toMatchObject({
      written: true,
      changes: [{ alias: 'cloud', before: { version: '1.0.0' } }],
    })
    expect(told(await site.plugins('show', 'cloud'))).toEqual([
      0,
      expect.stringMatching(
        /package +@acme\/plugin-cloud@1\.1\.0\n[^]*sha512 +sha512-[^]*before +1\.0\.0\n[^]*isolation +L[23]: [^]*enforced +.*no network/,
      ),
    ])

    site.registry.unpublish('@acme/plugin-cloud')
    expect(told(await site.plugins('rollback', 'cloud', '--yes'))).toEqual([
      0,
      expect.stringContaining('~ cloud: @acme/plugin-cloud 1.1.0 → 1.0.0'),
    ])
    expect(told(await site.plugins('rollback', 'cloud', '--yes'))).toEqual([0, expect.stringContaining('1.0.0 → 1.1.0')])
    expect(told(await site.plugins('remove', 'cloud', '--yes'))).toEqual([
      0,
      expect.stringContaining('- cloud: @acme/plugin-cloud 1.1.0'),
    ])
    expect(JSON.parse(await site.file('plugins.lock.json'))).toEqual({ schema: 1, plugins: {} })
  })

  test('a mirror holds all that a start needs, where no network is', { timeout }, async (context) => {
    // A network namespace of its own has not even a loopback that is up.
    const alone = ['unshare', '--user', '--map-root-user', '--net'] as const
    await requireSystem(context, {
      name: 'namespaces',
      probe: async () => ((await runProcess([...alone, 'true'])).code === 0 ? undefined : 'no namespace may be made here'),
    })
    await using site = await openSite()
    await mkdir(join(site.path, '.muster'))
    await site.publish('1.0.0')
    await site.plugins('add', '@acme/plugin-cloud', ...waived)
    await site.publish('1.1.0')
    await site.plugins('update', ...waived)
    await publishFixture(site)
    expect((await site.plugins('add', fixtureManifest.name, '--as', 'fix', ...waived)).code).toBe(0)
    const offline = (...args: string[]): ReturnType<typeof runProcess> =>
      runProcess([...alone, process.execPath, bin, ...args], {
        cwd: site.path,
        env: { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' },
      })
    // Its bytes are here since they were locked.
    const written = await offline('plugins', 'mirror', '--out', 'mirror')
    expect([written.code, written.stderr]).toEqual([
      0,
      expect.stringMatching(/holds .*@1\.1\.0, @muster-test\/fixture@1\.0\.0, .*@1\.0\.0/),
    ])
    const verified = await offline('plugins', 'verify', '--mirror', 'mirror', '--frozen')
    expect([verified.code, verified.stdout]).toEqual([
      0,
      'cloud: @acme/plugin-cloud@1.1.0: as locked\ncloud: @acme/plugin-cloud@1.0.0: as locked\nfix: @muster-test/fixture@1.0.0: as locked\n',
    ])
    const without = await offline('plugins', 'verify')
    expect([without.code, without.stdout]).toEqual([1, expect.stringMatching(/^cloud: .*: unreachable: /)])

    await startsFrom(site, alone)

    await writeFile(join(site.path, 'mirror/@acme/plugin-cloud/1.1.0.tgz'), await packPlugin())
    const swapped = await offline('plugins', 'verify', '--mirror', 'mirror')
    expect([swapped.code, swapped.stdout]).toEqual([
      1,
      expect.stringMatching(/other-bytes: the tarball of .* is not the locked one/),
    ])
  })

  test.each<[string, string[], RegExp]>([
    [
      'a package that is not there',
      ['add', 'none', ...waived],
      /no-package: .* has no package none\nmuster: fix: run: muster plugins, .*correct the name/,
    ],
    [
      'a range that has none',
      ['add', '@acme/plugin-cloud@^9.0.0', ...waived],
      /no-version: .*\n.*muster plugins add @acme\/plugin-cloud@1\.0\.0 --as cloud/,
    ],
    ['nobody who vouches', ['add', '@acme/plugin-cloud', '--yes'], /no-trust: nobody vouches/],
    ['no name', ['add', ...waived], /no package is named/],
    ['an alias that is not there', ['show', 'none'], /names no plugin 'none'/],
    [
      'a tarball that is not there',
      ['add', '--tarball', 'none.tgz', ...waived],
      /no-source: the tarball 'none\.tgz' does not exist/,
    ],
    ['a folder that is not there', ['add', '--folder', 'none', ...waived], /no-source: the folder 'none' has no package\.json/],
    ['an unknown registry', ['add', '@acme/plugin-cloud@1.0.0', '--registry', 'x', ...waived], /no registry is named 'x'/],
  ])('with %s is refused, and nothing is written', { timeout }, async (_name, args, wanted) => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const before = await site.file('plugins.json')
    expect(told(await site.plugins(...args))).toEqual([1, expect.stringMatching(wanted)])
    expect(await site.file('plugins.json')).toBe(before)
    await expect(site.file('plugins.lock.json')).rejects.toThrow(/ENOENT/)
  })

  test('what stands in plugins.json beside is not lost: with comments it is changed by hand', { timeout }, async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const text = `# ours\nregistries: { default: { url: "${site.registry.url}" } }\nplugins: { cloud: { package: "@acme/plugin-cloud", version: ^1.0.0 } }\n`
    await writeFile(join(site.path, 'plugins.json'), text)
    expect(told(await site.plugins('add', '@acme/plugin-cloud', ...waived))).toEqual([
      1,
      expect.stringMatching(
        /is no plain JSON.*\n.*run: \$\{EDITOR:-vi\} plugins\.json, and change it by hand; then: muster plugins lock/,
      ),
    ])
    expect(told(await site.plugins('lock', ...waived))).toEqual([0, expect.stringContaining('written')])
    expect(await site.file('plugins.json')).toBe(text)
  })
})
