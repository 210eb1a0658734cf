/** What changes the registry manifest by hand of the operator, one plugin at a time. */
import { readFile } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { namePattern } from '@muster/core'
import { filesOf } from '../../plugins/archive.ts'
import { namedIn, readTarball } from '../../plugins/origin.ts'
import { openOrigin } from '../../plugins/origins.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import { type PluginEntry, type PluginSource, registryOf } from '../../plugins/registry.ts'
import { chooseVersion } from '../../plugins/resolve.ts'
import { addCommand, byHand } from '../../plugins/way-out.ts'
import { change, type ChangeOptions, edited } from './change.ts'
import { entryOf, type Site } from './site.ts'
import { word } from '../../plugins/word.ts'

export interface AddOptions extends ChangeOptions {
  as?: string
  registry?: string
  tarball?: string
  mirror?: string
  folder?: string
}

interface Added {
  package: string
  version: string
  source?: PluginSource
}

export async function addPlugin(site: Site, spec: string | undefined, options: AddOptions): Promise<number> {
  const added = await wanted(site, spec, options)
  const alias = options.as ?? aliasOf(added.package)
  if (!namePattern.test(alias))
    throw new PluginRefusal(
      'no-package',
      `'${alias}' is no alias: it has 1 to 40 of a-z, 0-9 and -`,
      `run: muster plugins add ${word(`${added.package}@${added.version}`)} --as ${alias
        .toLowerCase()
        .replaceAll(/[^a-z0-9-]/g, '-')
        .slice(0, 40)}`,
    )
  const known = site.registry.entries.find((one) => one.alias === alias)
  if (known !== undefined && known.package !== added.package)
    throw new PluginRefusal(
      'clash',
      `the alias '${alias}' is ${known.package} already`,
      `run: ${addCommand({ ...added, alias: freeAlias(site, added.package), base: site.registry.base }, added.version)}; or with another name`,
    )
  const text = edited(site.text, (plugins) => {
    // What is demanded of it stays, also of another version.
    const { package: _package, version: _version, source: _source, ...demanded } = (plugins[alias] ?? {}) as Partial<PluginEntry>
    plugins[alias] = { ...added, ...demanded }
  })
  return change(site, options, { text, update: new Set([alias]) })
}

export async function removePlugin(site: Site, alias: string, options: ChangeOptions): Promise<number> {
  entryOf(site, alias)
  const users = site.providers[alias] ?? []
  if (users.length > 0)
    throw new PluginRefusal(
      'clash',
      `the plugin '${alias}' is used by ${users.join(', ')}`,
      byHand('take these providers out first', 'muster.yaml'),
    )
  const text = edited(site.text, (plugins) => {
    delete plugins[alias]
  })
  return change(site, options, { text, removes: true })
}

export async function updatePlugins(site: Site, aliases: readonly string[], options: ChangeOptions): Promise<number> {
  for (const alias of aliases) entryOf(site, alias)
  const all = site.registry.entries.map((one) => one.alias)
  return change(site, options, { update: new Set(aliases.length === 0 ? all : aliases) })
}

/** The registry manifest with the version before, which takes its place the other way round. Error: PluginRefusal. */
export function rolledBack(site: Site, alias: string): string {
  entryOf(site, alias)
  const locked = site.lock.lock.plugins[alias]
  if (locked?.previous === undefined)
    throw new PluginRefusal(
      'no-version',
      `the lock has no version of '${alias}' before this one`,
      `run: muster plugins update ${alias}, which looks for another one; or name it: muster plugins add NAME@VERSION`,
    )
  const { version, source } = locked.previous
  return edited(site.text, (plugins) => {
    plugins[alias] = { ...(plugins[alias] as object), version, ...(source === undefined ? {} : { source }) }
  })
}

/** The registry manifest with another version or range of one plugin. */
export function versioned(site: Site, alias: string, version: string): string {
  return edited(site.text, (plugins) => {
    plugins[alias] = { ...(plugins[alias] as object), version }
  })
}

async function wanted(site: Site, spec: string | undefined, options: AddOptions): Promise<Added> {
  const base = site.registry.base
  const at = (path: string): string => relative(base, resolve(path)) || '.'
  if (options.folder !== undefined) {
    const folder = options.folder
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => '')
    return { ...packageOf(text, `the folder '${folder}'`), source: { folder: at(folder) } }
  }
  if (options.tarball !== undefined) {
    const pack = (await filesOf(await readTarball(options.tarball))).get('package.json')?.toString() ?? ''
    return { ...packageOf(pack, `the tarball '${options.tarball}'`), source: { tarball: at(options.tarball) } }
  }
  const [name, range] = splitSpec(spec)
  const source = sourceOf(options, at) ?? sourceNow(site, { alias: options.as ?? aliasOf(name), name })
  if (range !== undefined) return { package: name, version: range, ...(source === undefined ? {} : { source }) }
  const from = source ?? { registry: registryOf(name, site.registry.registries) }
  const origin = await openOrigin(from, site)
  const rule = { policy: site.registry.policy, now: Date.now(), aged: origin.aged }
  const { version } = chooseVersion(
    { alias: options.as ?? aliasOf(name), package: name, range: '*', source: from, base },
    await origin.versions(name),
    rule,
  )
  return { package: name, version: `^${version}`, ...(source === undefined ? {} : { source }) }
}

/** Where it comes from already, unless that is where it would come from anyhow, or a file of one's own. */
function sourceNow(
  { registry: { entries, registries } }: Site,
  { alias, name }: { alias: string; name: string },
): PluginSource | undefined {
  const known = entries.find((one) => one.alias === alias && one.package === name)?.source
  if (known === undefined || 'folder' in known || 'tarball' in known) return undefined
  return 'registry' in known && known.registry === registryOf(name, registries) ? undefined : known
}

function sourceOf({ mirror, registry }: AddOptions, at: (path: string) => string): PluginSource | undefined {
  if (mirror !== undefined) return { mirror: at(mirror) }
  return registry === undefined ? undefined : { registry }
}

function splitSpec(spec: string | undefined): [string, string?] {
  if (spec === undefined)
    throw new PluginRefusal(
      'no-package',
      'no package is named',
      'run: muster plugins add --help; it is: add PACKAGE, or add --tarball FILE or --folder DIR',
    )
  const at = spec.indexOf('@', 1)
  return at === -1 ? [spec] : [spec.slice(0, at), spec.slice(at + 1)]
}

/** One that no other plugin has. */
function freeAlias({ registry }: Site, name: string): string {
  const taken = new Set(registry.entries.map((one) => one.alias))
  const plain = aliasOf(name)
  for (let at = 1; ; at++) {
    const alias = at === 1 ? plain : `${plain}-${at}`
    if (!taken.has(alias)) return alias
  }
}

function aliasOf(name: string): string {
  return name.replace(/^.*\//, '').replace(/^(?:muster-)?plugin-/, '')
}

function packageOf(text: string, where: string): { package: string; version: string } {
  const found = namedIn(text)
  if (found !== undefined) return { package: found.name, version: found.version }
  throw new PluginRefusal(
    'no-source',
    `${where} has no package.json with name and version`,
    'run: npm init, in the folder of the plugin; or correct the path',
  )
}
