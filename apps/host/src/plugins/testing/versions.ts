/** Several versions of a plugin, packed and locked as anyone's, in a mirror: what an upgrade goes from and to. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerPluginManifest } from '@muster/core'
import { writeMirror } from '../mirror.ts'
import { lockHere } from './lock.ts'
import { packEntries } from './pack.ts'

const published = '2026-01-01T00:00:00.000Z'
const root = join(import.meta.dirname, '../../../../..')

export interface Version {
  version: string
  manifest?: Partial<WorkerPluginManifest>
  /** Runs before the plugin does. */
  prologue?: string
}

/** The built plugin of this repository in these versions; `out` is the mirror. */
export async function mirrorBuilt(out: string, plugin: string, versions: readonly Version[]): Promise<void> {
  const folder = join(root, 'packages', plugin)
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8')
  const { name, type, muster } = JSON.parse(await read('package.json')) as Record<'name' | 'type' | 'muster', string>
  const manifest = JSON.parse(await read('muster-plugin.json')) as WorkerPluginManifest
  const code = await read(manifest.entry)
  await mirrorAll(
    out,
    versions.map(({ version, manifest: other, prologue = '' }) => ({
      ...{ name, version, pkg: { type, muster }, entry: manifest.entry },
      manifest: { ...manifest, ...other, version },
      code: `${prologue}\n${code}`,
    })),
  )
}

interface Built {
  name: string
  version: string
  pkg: object
  entry: string
  manifest: WorkerPluginManifest
  code: string
}

async function mirrorAll(out: string, all: readonly Built[]): Promise<void> {
  const packed = await Promise.all(
    all.map(async ({ name, version, pkg, entry, manifest, code }) => ({
      ...{ package: name, version, published, attestations: undefined },
      tarball: await packEntries([
        ['package/package.json', JSON.stringify({ name, version, ...pkg })],
        ['package/muster-plugin.json', JSON.stringify(manifest)],
        [`package/${entry}`, code],
      ]),
    })),
  )
  await writeMirror(out, packed)
}

export interface Locked {
  /** The registry manifest; its lock is written beside it. */
  file: string
  alias: string
  package: string
  version: string
  mirror: string
  store: string
}

/** Names one version and locks it; what was locked before is kept as the one to go back to. */
export async function lockVersion({ file, alias, package: name, version, mirror, store }: Locked): Promise<void> {
  const entry = { package: name, version, source: { mirror } }
  await writeFile(file, JSON.stringify({ policy: { exempt: [name] }, plugins: { [alias]: entry } }))
  const { problems } = await lockHere(file, { stores: [store] })
  if (problems.length > 0) throw new Error(JSON.stringify(problems))
}
