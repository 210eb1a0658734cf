/** Makes real plugin packages of the fixture, bundled as any author would. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerPluginManifest } from '@muster/core'
import { build } from 'esbuild'
import { plainManifest } from './manifest.ts'

export const fixtureManifest: WorkerPluginManifest = plainManifest('@muster-test/fixture', {
  // It keeps notes wherever a test wants them.
  permissions: { net: [], unix: [], fsRead: ['/'], fsWrite: ['/'], env: ['MUSTER_FIXTURE_GIVEN'], childProcess: false },
  secrets: ['token'],
})

/** Writes the package into `folder`; `said` is what the running plugin describes, when it lies. */
export async function packFixture(
  folder: string,
  { manifest = fixtureManifest, said = manifest }: { manifest?: WorkerPluginManifest; said?: WorkerPluginManifest } = {},
): Promise<void> {
  await mkdir(folder, { recursive: true })
  await build({
    entryPoints: [join(import.meta.dirname, 'fixture.ts')],
    outfile: join(folder, 'plugin.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    conditions: ['@muster/source'],
    define: { MANIFEST: JSON.stringify(said) },
    logLevel: 'error',
  })
  await writeFile(join(folder, 'muster-plugin.json'), JSON.stringify(manifest, null, 2))
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ name: manifest.name, version: manifest.version, type: 'module', muster: 'muster-plugin.json' }),
  )
}
