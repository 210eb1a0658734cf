/** Plugins of this repository as anyone's: packed, locked, and unpacked into a store. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerPluginManifest } from '@muster/core'
import { discover } from '../plugins/discover.ts'
import type { DiscoveredPlugin } from '../plugins/package.ts'
import { lockHere } from '../plugins/testing/lock.ts'
import { packEntries } from '../plugins/testing/pack.ts'

const root = join(import.meta.dirname, '../../../..')

export const benched = {
  null: { package: 'plugin-null', config: {} },
  local: { package: 'plugin-baremetal', config: { transport: 'local' } },
  docker: { package: 'plugin-docker', config: { socket: '/nonexistent.sock' } },
}
export type Benched = keyof typeof benched

/** The tarball of the built package. */
export async function tarballOf(alias: Benched): Promise<Buffer> {
  const folder = join(root, 'packages', benched[alias].package)
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8')
  const [pkg, manifest] = await Promise.all([read('package.json'), read('muster-plugin.json')])
  const { entry } = JSON.parse(manifest) as WorkerPluginManifest
  const { name, version, type, muster } = JSON.parse(pkg) as Record<'name' | 'version' | 'type' | 'muster', string>
  return packEntries([
    ['package/package.json', JSON.stringify({ name, version, type, muster })],
    ['package/muster-plugin.json', manifest],
    [`package/${entry}`, await read(entry)],
  ])
}

/** All of them, in a registry manifest in `dir` with its lock and store. */
export async function lockedPlugins(dir: string): Promise<DiscoveredPlugin[]> {
  const file = join(dir, 'plugins.json')
  const entries = await Promise.all(
    (Object.keys(benched) as Benched[]).map(async (alias) => {
      const tarball = join(dir, `${alias}.tgz`)
      await writeFile(tarball, await tarballOf(alias))
      return [alias, { package: `@muster/${benched[alias].package}`, version: '0.1.0', source: { tarball } }] as const
    }),
  )
  await writeFile(file, JSON.stringify({ plugins: Object.fromEntries(entries) }))
  const stores = [join(dir, 'store')] as [string]
  const { problems: unlocked } = await lockHere(file, { stores })
  const { plugins, problems } = await discover(file, { stores, shown: 'plugins.json' })
  if (unlocked.length + problems.length > 0) throw new Error(JSON.stringify([...unlocked, ...problems]))
  return plugins
}
