/** Several versions of a plugin, packed and locked as anyone's, in a mirror: what an upgrade goes from and to. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerPluginManifest } from '@muster/core'
import { type LoadedConfig, type MusterConfig, parseConfig } from '../../config/load.ts'
import { discover, type Discovery } from '../discover.ts'
import { writeMirror } from '../mirror.ts'
import { lockHere } from './lock.ts'
import { packEntries } from './pack.ts'
import { fixtureManifest, packFixture } from './package.ts'

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

/** The fixture in these versions. */
export async function mirrorFixture(out: string, versions: readonly (string | Version)[]): Promise<void> {
  const { name, entry } = fixtureManifest
  const given = versions.map((one) => (typeof one === 'string' ? { version: one } : one))
  const all = given.map(async ({ version, manifest: other, prologue = '' }: Version) => {
    const manifest = { ...fixtureManifest, ...other, version }
    const folder = join(out, `.build-${version}`)
    await packFixture(folder, { manifest })
    const code = `${prologue}\n${await readFile(join(folder, entry), 'utf8')}`
    return { name, version, pkg: { type: 'module', muster: 'muster-plugin.json' }, entry, manifest, code }
  })
  await mirrorAll(out, await Promise.all(all))
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
  /** Of its entry. */
  more?: object
}

/** Names one version and locks it; what was locked before is kept as the one to go back to. */
export async function lockVersion({ file, alias, package: name, version, mirror, store, more }: Locked): Promise<void> {
  const entry = { package: name, version, source: { mirror }, ...more }
  await writeFile(file, JSON.stringify({ policy: { exempt: [name] }, plugins: { [alias]: entry } }))
  const { problems } = await lockHere(file, { stores: [store] })
  if (problems.length > 0) throw new Error(JSON.stringify(problems))
}

export interface VersionSite {
  /** Of each provider. */
  knobs?: object
  /** Of the plugin's entry. */
  more?: object
  /** Names of further providers. */
  others?: readonly string[]
}

/** `muster.yaml` of such a site. */
export function versionText(data: string, { knobs = {}, others = [] }: Pick<VersionSite, 'knobs' | 'others'>): string {
  const providers = ['p', ...others].map((name) => `  ${name}: { plugin: fix, config: ${JSON.stringify(knobs)} }\n`)
  return `host: { data: ${data} }\nproviders:\n${providers.join('')}pools:\n  a: { placement: [p] }\n`
}

/** A configuration of one provider `p`, and of `others`, that are the fixture in this version, as the daemon reads it. */
export async function configureVersion(
  data: string,
  { mirror, version, knobs = {}, more = {}, others = [] }: { mirror: string; version: string } & VersionSite,
): Promise<{ config: MusterConfig; discovery: Discovery; at: LoadedConfig['problem'] }> {
  const [file, store] = [join(data, 'plugins.json'), join(data, 'plugins')]
  await lockVersion({ file, alias: 'fix', package: fixtureManifest.name, version, mirror, store, more })
  const { config, problem, problems } = parseConfig(join(data, 'muster.yaml'), versionText(data, { knobs, others }))
  if (config === undefined) throw new Error(JSON.stringify(problems))
  const discovery = await discover(file, { stores: [store], shown: 'plugins.json' })
  if (discovery.problems.length > 0) throw new Error(JSON.stringify(discovery.problems))
  return { config, discovery, at: problem }
}
