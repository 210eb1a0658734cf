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

/** One file, as any author makes it. */
export async function bundled(source: string, define: Record<string, string> = {}): Promise<string> {
  const made = await build({
    entryPoints: [source],
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    conditions: ['@muster/source'],
    define,
    logLevel: 'error',
  })
  return made.outputFiles[0]?.text ?? ''
}

/** Writes the package into `folder`; `said` is what the running plugin describes, when it lies. */
export async function packFixture(
  folder: string,
  { manifest = fixtureManifest, said = manifest }: { manifest?: WorkerPluginManifest; said?: WorkerPluginManifest } = {},
): Promise<void> {
  await mkdir(folder, { recursive: true })
  const code = await bundled(join(import.meta.dirname, 'fixture.ts'), { MANIFEST: JSON.stringify(said) })
  await writeFile(join(folder, 'plugin.mjs'), code)
  await writeFile(join(folder, 'muster-plugin.json'), JSON.stringify(manifest, null, 2))
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ name: manifest.name, version: manifest.version, type: 'module', muster: 'muster-plugin.json' }),
  )
}
