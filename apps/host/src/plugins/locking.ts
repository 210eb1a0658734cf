/** From a registry manifest and the lock that is there to the lock that fits it: versions resolved, bytes fetched and looked into. */
import { isDeepStrictEqual } from 'node:util'
import type { PluginManifest } from '@muster/core'
import type { Problem } from '../config/problem.ts'
import { conformanceOf } from '@muster/packed/conformance'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { addContent, filesOfFolder, findContent, verifyTree } from './content.ts'
import { type Difference, differences } from './difference.ts'
import { openPackage, type Stores } from './discover.ts'
import { openLocked } from './fetch.ts'
import { type Lock, type LockedPlugin, lockedFor, type LockedVersion, type Waiver } from './lock.ts'
import { openOrigin, type OriginDeps } from './origins.ts'
import { PluginRefusal } from './refusal.ts'
import type { LoadedRegistry, PluginEntry } from './registry.ts'
import { chooseVersion } from './resolve.ts'
import { keepsTrust, trustOf } from './trust.ts'

export interface LockingOptions extends OriginDeps {
  registry: LoadedRegistry
  lock: Lock
  stores: Stores
  /** Aliases that are resolved anew although their lock fits. */
  update: ReadonlySet<string>
  /** Vouches for what has no signature. */
  waiver?: Waiver
  now: number
}

/** What becomes of one alias. */
export interface LockChange {
  alias: string
  package: string
  kind: 'added' | 'removed' | 'changed'
  before?: LockedVersion
  after?: LockedVersion
  /** Why nobody should use it any more, as its publisher says. */
  deprecated?: string
  /** From what was locked before; all of it, where that cannot be had any more. */
  differences: Difference[]
  compared: boolean
}

export interface Locking {
  lock: Lock
  changes: LockChange[]
  problems: Problem[]
}

/** Changes as little as fits; writes nothing but the content store. All that is wrong is found, not the first. */
export async function planLock(options: LockingOptions): Promise<Locking> {
  const { registry, lock } = options
  const entries = registry.entries.filter((entry) => !('folder' in entry.source))
  const all = await Promise.all(
    entries.map(async (entry): Promise<Planned> => {
      try {
        return await lockOne(entry, options)
      } catch (error) {
        if (!(error instanceof PluginRefusal)) throw error
        const reason = `${error.code}: ${error.message}`
        return { problems: [registry.problem(['plugins', entry.alias], { at: 'key', reason, fix: error.fix })] }
      }
    }),
  )
  const plugins: Lock['plugins'] = {}
  for (const [index, { locked }] of all.entries()) {
    const { alias } = entries[index] as PluginEntry
    if (locked !== undefined) plugins[alias] = locked
  }
  const aliases = new Set(registry.entries.map((one) => one.alias))
  const removed = Object.entries(lock.plugins).flatMap(([alias, { package: name, ...before }]): LockChange[] =>
    aliases.has(alias) ? [] : [{ alias, package: name, kind: 'removed', before, differences: [], compared: true }],
  )
  return {
    lock: { plugins },
    changes: [...all.flatMap((one) => one.change ?? []), ...removed],
    problems: all.flatMap((one) => one.problems),
  }
}

interface Planned {
  locked?: LockedPlugin
  change?: LockChange
  problems: Problem[]
}

async function lockOne(entry: PluginEntry, options: LockingOptions): Promise<Planned> {
  const { lock, update } = options
  const before = Object.hasOwn(lock.plugins, entry.alias) ? lock.plugins[entry.alias] : undefined
  const fits = fitting(entry, options)
  if (fits !== undefined && !update.has(entry.alias) && !(await tarballChanged(fits, options)))
    return { locked: fits, problems: [] }
  const back = await goBack(entry, { before, options })
  if (back !== undefined) return back
  const origin = await openOrigin(entry.source, options)
  const wanted = { alias: entry.alias, package: entry.package, range: entry.version }
  const rule = { policy: options.registry.policy, now: options.now, aged: origin.aged }
  const chosen = chooseVersion(wanted, await origin.versions(entry.package), rule)
  const tarball = await origin.tarball(entry.package, chosen.version)
  const sha512 = sha512Of(tarball)
  if (fits?.sha512 === sha512) return { locked: fits, problems: [] }
  refuseOtherBytes(entry, { before, version: chosen.version, sha512 })
  const root = await addContent(tarball, options.stores[0])
  const files = await filesOfFolder(root)
  const tree = treeOf(files)
  const opened = await openPackage(entry, { root, registry: options.registry, locked: { version: chosen.version, tree } })
  if (opened.plugin === undefined) return { problems: opened.problems }
  const old = before?.package === entry.package ? before : undefined
  const trust = await trustOf(
    {
      ...{ package: entry.package, version: chosen.version, sha512 },
      attestations: () => origin.attestations(entry.package, chosen.version),
      ...(old === undefined ? {} : { before: old }),
      ...(options.waiver === undefined ? {} : { waiver: options.waiver }),
    },
    options.registry.trust,
  )
  const { manifest } = opened.plugin
  const conformance = conformanceOf(files, manifest)
  const after: LockedVersion = {
    ...{ version: chosen.version, sha512, size: tarball.length, tree },
    ...(chosen.published === undefined ? {} : { published: chosen.published }),
    ...trust,
    ...(conformance === undefined ? {} : { conformance }),
    permissions: manifest.permissions,
  }
  const told = chosen.deprecated === undefined ? {} : { deprecated: chosen.deprecated }
  return planned(entry, { before, after, manifest, told, options })
}

/** To the very bytes of the version before, where these are here: nothing is asked of anybody. */
async function goBack(
  entry: PluginEntry,
  { before, options }: { before: LockedPlugin | undefined; options: LockingOptions },
): Promise<Planned | undefined> {
  const after = before?.package === entry.package ? before.previous : undefined
  if (after === undefined || after.version !== entry.version || !isDeepStrictEqual(before?.source, entry.source)) return undefined
  const root = await findContent(after.sha512, options.stores)
  if (root === undefined) return undefined
  await verifyTree(root, after.tree)
  keepsTrust({ package: entry.package, ...after }, options.registry.trust)
  const opened = await openPackage(entry, { root, registry: options.registry, locked: after })
  if (opened.plugin === undefined) return { problems: opened.problems }
  return planned(entry, { before, after, manifest: opened.plugin.manifest, told: {}, options })
}

interface NewlyLocked {
  before: LockedPlugin | undefined
  after: LockedVersion
  manifest: PluginManifest
  told: Pick<LockChange, 'deprecated'>
  options: LockingOptions
}

async function planned(entry: PluginEntry, { before, after, manifest, told, options }: NewlyLocked): Promise<Planned> {
  const old = before?.package === entry.package ? before : undefined
  const known = old === undefined ? undefined : await manifestOf(old, options)
  return {
    locked: {
      package: entry.package,
      source: entry.source,
      ...after,
      ...(old === undefined ? {} : { previous: versionOf(old) }),
    },
    change: {
      alias: entry.alias,
      package: entry.package,
      kind: before === undefined ? 'added' : 'changed',
      ...(before === undefined ? {} : { before: versionOf(before) }),
      after,
      ...told,
      differences: differences(known, manifest),
      compared: old === undefined || known !== undefined,
    },
    problems: [],
  }
}

function fitting(entry: PluginEntry, { lock, registry }: LockingOptions): LockedPlugin | undefined {
  try {
    const locked = lockedFor(entry, lock)
    keepsTrust(locked, registry.trust)
    return locked
  } catch {
    return undefined
  }
}

/** A file at hand may be another one now; a registry is asked only when that is wanted. */
async function tarballChanged(
  { source, sha512, package: name, version }: LockedPlugin,
  options: LockingOptions,
): Promise<boolean> {
  if (!('tarball' in source)) return false
  return sha512Of(await (await openOrigin(source, options)).tarball(name, version)) !== sha512
}

/** What is published never changes; a file of one's own may. Error: PluginRefusal `other-bytes`. */
function refuseOtherBytes(
  { alias, package: name, source }: PluginEntry,
  { before, version, sha512 }: { before: LockedPlugin | undefined; version: string; sha512: string },
): void {
  const known = [before, before?.previous].find((one) => before?.package === name && one?.version === version)
  if ('tarball' in source || known === undefined || known.sha512 === sha512) return
  throw new PluginRefusal(
    'other-bytes',
    `${name}@${version} has other bytes now: ${sha512}, where the lock has ${known.sha512}; what is published never changes`,
    `ask its publisher; if the new bytes are meant, run: muster plugins remove ${alias}, and add it again`,
  )
}

function versionOf({ package: _package, source: _source, previous: _previous, ...version }: LockedPlugin): LockedVersion {
  return version
}

/** Of a version that was locked; undefined where its bytes cannot be had any more. */
async function manifestOf(
  locked: LockedPlugin,
  { stores, registry, ...more }: LockingOptions,
): Promise<PluginManifest | undefined> {
  try {
    const root = await openLocked(locked, { stores, registry, ...more })
    const entry = { alias: '', package: locked.package, version: locked.version, source: locked.source }
    return (await openPackage(entry, { root, registry, locked })).plugin?.manifest
  } catch (error) {
    if (error instanceof PluginRefusal) return undefined
    throw error
  }
}
