/** The scripts by which npm would run code of a package where it is installed: no host does. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mustRun } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { parseConfig } from '../config/load.ts'
import { checkPlugins } from './check.ts'
import { discover } from './discover.ts'
import { lockHere } from './testing/lock.ts'
import { startTestRegistry } from './testing/npm-registry.ts'
import { packEntries } from './testing/pack.ts'
import { fixtureManifest, packFixture } from './testing/package.ts'
import { versionText } from './testing/versions.ts'

/** All that npm, pnpm and yarn know of an installation and of packing. */
const names = [
  'preinstall',
  'install',
  'postinstall',
  'preprepare',
  'prepare',
  'postprepare',
  'prepack',
  'postpack',
  'prepublish',
]

test('no script of a package runs: not as it is locked, opened, checked and started', async () => {
  await using temp = await tempFolder('scripts')
  await using registry = await startTestRegistry()
  const planted = join(temp.path, 'planted')
  const scripts = Object.fromEntries(names.map((name) => [name, `echo ${name} >> ${planted}`]))
  const built = join(temp.path, 'built')
  await packFixture(built)
  const read = (name: string): Promise<string> => readFile(join(built, name), 'utf8')
  const pack = JSON.stringify({ ...(JSON.parse(await read('package.json')) as object), scripts })
  const { name, version, entry } = fixtureManifest
  const tarball = await packEntries([
    ['package/package.json', pack],
    ['package/muster-plugin.json', await read('muster-plugin.json')],
    [`package/${entry}`, await read(entry)],
  ])
  registry.publish(name, version, { tarball, published: '2026-01-01T00:00:00.000Z' })
  const file = join(temp.path, 'plugins.json')
  const plugins = { fix: { package: name, version } }
  await writeFile(file, JSON.stringify({ registries: { default: { url: registry.url } }, plugins }))
  expect((await lockHere(file)).problems).toEqual([])

  const discovery = await discover(file, { stores: [join(temp.path, 'store')], shown: 'plugins.json' })
  const { config, problem } = parseConfig(join(temp.path, 'muster.yaml'), versionText(join(temp.path, 'data'), {}))
  if (config === undefined) throw new Error('the configuration is right')
  expect(discovery.plugins.map((one) => one.alias)).toEqual(['fix'])
  // It is started, describes itself, is configured and probed.
  expect((await checkPlugins({ config, discovery, at: problem })).problems).toEqual([])
  await expect(stat(planted)).rejects.toThrow(/ENOENT/)

  // Each would have left its name.
  const root = discovery.plugins[0]?.root ?? ''
  const there = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  for (const script of Object.values(there.scripts)) await mustRun(['sh', '-c', script])
  expect((await readFile(planted, 'utf8')).trim().split('\n')).toEqual(names)
})
