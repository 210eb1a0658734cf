/** The fixture as anybody's plugin: in a tarball, locked. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerPluginManifest } from '@muster/core'
import { lockHere } from './lock.ts'
import { packEntries } from './pack.ts'
import { fixtureManifest, packFixture } from './package.ts'

/** Its entry in the registry manifest, which lies in `folder` as the tarball and the store do. */
export async function lockFixture(folder: string, manifest: Partial<WorkerPluginManifest>, more: object = {}): Promise<object> {
  const plugin = join(folder, 'plugin')
  await packFixture(plugin, { manifest: { ...fixtureManifest, ...manifest } })
  const names = ['package.json', 'muster-plugin.json', 'plugin.mjs']
  const entries = await Promise.all(
    names.map(async (name): Promise<[string, string]> => [`package/${name}`, await readFile(join(plugin, name), 'utf8')]),
  )
  await writeFile(join(folder, 'plugin.tgz'), await packEntries(entries))
  const { name, version } = fixtureManifest
  const entry = { package: name, version, source: { tarball: 'plugin.tgz' }, ...more }
  const file = join(folder, 'plugins.json')
  await writeFile(file, JSON.stringify({ plugins: { fix: entry } }))
  const { problems } = await lockHere(file, { stores: [join(folder, 'plugins')] })
  if (problems.length > 0) throw new Error(JSON.stringify(problems))
  return entry
}
