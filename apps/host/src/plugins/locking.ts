/** From a registry manifest and the lock that is there to the lock that fits it: versions resolved, bytes fetched and looked into. */
import { isDeepStrictEqual } from 'node:util'
import type { PluginManifest } from '@muster/core'
import type { Problem } from '../config/problem.ts'
import { conformanceOf } from '@muster/packed/conformance'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { demandHeap } from './accepted.ts'
import { filesOf } from './archive.ts'
import { clashesIn, clashProblem } from './clash.ts'
import { addContent, findContent, verifyTree } from './content.ts'
import { type Difference, differences } from './difference.ts'
import type { Stores } from './discover.ts'
import { openPackage } from './package.ts'
import { openLocked } from './fetch.ts'
import { keepAttestations } from './kept-tarballs.ts'
import { type Lock, type LockedPlugin, lockedFor, type LockedVersion, type Waiver } from './lock.ts'
import { previousTo, versionOf, vouchedBy, writtenOf } from './locked-version.ts'
import { openOrigin, type OriginDeps } from './origins.ts'
import { PluginRefusal, problemOf, type RefusalCode } from './refusal.ts'
import type { LoadedRegistry, PluginEntry } from './registry.ts'
import { chooseVersion, othersThan, type Wanted } from './resolve.ts'
import { keepsTrust, ofBefore, type TrustQuestion, trustOf } from './trust.ts'
import { addCommand, isOfVersion, orElse } from './way-out.ts'

export interface LockingOptions extends OriginDeps {
  registry: LoadedRegistry
  lock: Lock
  stores: Stores
  /** Aliases that are resolved anew although their lock fits. */
  update: ReadonlySet<string>
  /** The alias that goes back to its version before, also where that has the same number. */
  back?: string
  /** Vouches for what has no signature. */
  waiver?: Waiver
  now: number
  /** The largest heap that one may ask for, as a start has it. Absent: any. */
  maxHeapMb?: number
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
  const { registry } = options
  const entries = registry.entries.filter((entry) => !('folder' in entry.source))
  const all = await Promise.all(
    entries.map(async (entry): Promise<Planned> => {
      const planned = await tryLock(entry, options)
      return planned.problems.some(({ code }) => mayBeAnother(code))
        ? { problems: await instead(entry, planned, options) }
        : planned
    }),
  )
  const plugins: Lock['plugins'] = {}
  for (const [index, { locked }] of all.entries()) {
    const { alias } = entries[index] as PluginEntry
    if (locked !== undefined) plugins[alias] = locked
  }
  return {
    lock: { plugins },
    changes: [...all.flatMap((one) => one.change ?? []), ...planRemoval(options).changes],
    problems: [
      ...all.flatMap((one) => one.problems),
      ...clashesIn({ plugins }).map((one) => clashProblem(one, registry.problem)),
    ],
  }
}

/** What the registry manifest names no longer goes, and all else stays as it is, also what fits no more: to take one out needs nothing of the others. */
export function planRemoval({ registry, lock }: Pick<LockingOptions, 'registry' | 'lock'>): Locking {
  const aliases = new Set(registry.entries.map((one) => one.alias))
  const all = Object.entries(lock.plugins)
  const changes = all.flatMap(([alias, { package: name, ...before }]): LockChange[] =>
    aliases.has(alias) ? [] : [{ alias, package: name, kind: 'removed', before, differences: [], compared: true }],
  )
  return { lock: { plugins: Object.fromEntries(all.filter(([alias]) => aliases.has(alias))) }, changes, problems: [] }
}

interface Planned {
  locked?: LockedPlugin
  change?: LockChange
  problems: Problem[]
}

async function tryLock(entry: PluginEntry, options: LockingOptions): Promise<Planned> {
  try {
    return await lockOne(entry, options)
  } catch (error) {
    return { problems: [problemOf(error, { alias: entry.alias, at: options.registry.problem })] }
  }
}

/** So many bundles are fetched by a command that fails anyhow. */
const tries = 3

/** May another version do? Where nothing in the range counts, or is there at all, what is outside may. */
function mayBeAnother(code: string | undefined): boolean {
  return isOfVersion(code) || code === 'too-new' || code === 'no-release-time' || code === 'no-version'
}

/** The same problems with the nearest version that does work: each is tried as a whole, and nothing of it stays but its bytes. */
async function instead(entry: PluginEntry, { problems }: Planned, options: LockingOptions): Promise<Problem[]> {
  const { registry, now } = options
  const mended = (way: (fix: string) => string): Problem[] =>
    problems.map((one) => (mayBeAnother(one.code) ? { ...one, fix: way(one.fix) } : one))
  try {
    const origin = await openOrigin(entry.source, options)
    const rule = { policy: registry.policy, now, aged: origin.aged }
    const found = await origin.versions(entry.package)
    const wanted = wantedOf(entry, registry)
    const others = othersThan(wanted, { found, rule }).slice(0, tries)
    for (const version of others) {
      const planned = await tryLock({ ...entry, version }, { ...options, update: new Set([entry.alias]) })
      if (planned.problems.length > 0) continue
      const command = addCommand(wanted, version)
      // Of a range with nothing in it, another version is the whole way out.
      return mended((fix) => (problems.some(({ code }) => code === 'no-version') ? `run: ${command}` : orElse(command, fix)))
    }
    return others.length === 0 || problems.some(({ code }) => code === 'no-version')
      ? problems
      : mended((fix) => `${fix}; ${others.join(', ')} would not do either`)
  } catch (error) {
    if (error instanceof PluginRefusal) return problems
    throw error
  }
}

function wantedOf({ alias, package: name, version, source }: PluginEntry, { base }: LoadedRegistry): Wanted {
  return { alias, package: name, range: version, source, base }
}

async function lockOne(entry: PluginEntry, options: LockingOptions): Promise<Planned> {
  const { lock } = options
  const before = Object.hasOwn(lock.plugins, entry.alias) ? lock.plugins[entry.alias] : undefined
  const fits = fitting(entry, options)
  if (fits !== undefined && !isAnew(entry, options) && !(await tarballChanged(fits, options))) {
    await demandHeapOf(fits, entry, options)
    return { locked: fits, problems: [] }
  }
  const back = await goBack(entry, { before, options })
  if (back !== undefined) return back
  const origin = await openOrigin(entry.source, options)
  const wanted = wantedOf(entry, options.registry)
  const rule = { policy: options.registry.policy, now: options.now, aged: origin.aged, tried: true }
  const chosen = chooseVersion(wanted, await origin.versions(entry.package), rule)
  const tarball = await origin.tarball(entry.package, chosen.version)
  const sha512 = sha512Of(tarball)
  // The very bytes that are locked: somebody vouched for them, and only what is written of them may differ.
  const same = fits?.sha512 === sha512 ? fits : undefined
  refuseOtherBytes(entry, { before, version: chosen.version, sha512 })
  // Of the bytes that were vouched for: what lies in the store under their hash may be somebody else's.
  const files = await filesOf(tarball)
  const tree = treeOf(files)
  const root = await addContent(tarball, options.stores[0])
  await verifyTree(root, tree)
  const opened = await openPackage(entry, { root, registry: options.registry, locked: { version: chosen.version, tree } })
  if (opened.plugin === undefined) return { problems: opened.problems }
  demandHeap(entry, opened.plugin.manifest, options.maxHeapMb)
  let attestations: unknown
  const trust =
    same === undefined
      ? await trustOf(
          {
            ...{ package: entry.package, version: chosen.version, sha512 },
            add: addCommand(wanted, chosen.version),
            attestations: async () => {
              attestations = await origin.attestations(entry.package, chosen.version)
              return attestations
            },
            ...signedBefore(entry, lock),
            ...(options.waiver === undefined ? {} : { waiver: options.waiver }),
          },
          options.registry.trust,
        )
      : vouchedBy(same)
  await keepAttestations(sha512, { store: options.stores[0], attestations })
  const { manifest } = opened.plugin
  const conformance = conformanceOf(files, manifest)
  const after: LockedVersion = {
    ...{ version: chosen.version, sha512, size: tarball.length, tree },
    ...(chosen.published === undefined ? {} : { published: chosen.published }),
    ...trust,
    ...(conformance === undefined ? {} : { conformance }),
    permissions: manifest.permissions,
  }
  if (same !== undefined && isDeepStrictEqual(writtenOf(same), writtenOf(after))) return { locked: same, problems: [] }
  const told = chosen.deprecated === undefined ? {} : { deprecated: chosen.deprecated }
  return planned(entry, { before, after, manifest, told, options })
}

/** Of one whose lock stays, where its files are here: nothing is fetched for it. Error: PluginRefusal `over-limit`. */
async function demandHeapOf(
  locked: LockedPlugin,
  entry: PluginEntry,
  { registry, stores, maxHeapMb }: LockingOptions,
): Promise<void> {
  const root = maxHeapMb === undefined ? undefined : await findContent(locked.sha512, stores)
  if (root === undefined) return
  const { plugin } = await openPackage(entry, { root, registry, locked })
  if (plugin !== undefined) demandHeap(entry, plugin.manifest, maxHeapMb)
}

/** What was signed once stays with its signer, by whatever alias it is known. */
function signedBefore({ alias, package: name }: PluginEntry, { plugins }: Lock): Pick<TrustQuestion, 'before'> {
  const same = Object.entries(plugins).filter(([, one]) => one.package === name)
  const own = same.find(([other]) => other === alias)
  const found = [own, ...same].find((one) => one?.[1].signer !== undefined) ?? own
  return found === undefined ? {} : { before: { ...found[1], alias: found[0] } }
}

function isAnew({ alias }: PluginEntry, { update, back }: LockingOptions): boolean {
  return update.has(alias) || back === alias
}

/** To the very bytes of the version before, where these can be had: nobody is asked which versions there are. */
async function goBack(
  entry: PluginEntry,
  { before, options }: { before: LockedPlugin | undefined; options: LockingOptions },
): Promise<Planned | undefined> {
  const previous = before?.package === entry.package ? before.previous : undefined
  if (before === undefined || previous === undefined || previous.version !== entry.version) return undefined
  const { source = before.source, ...after } = previous
  if (!isDeepStrictEqual(source, entry.source)) return undefined
  // A file of one's own may have had other bytes under the same number: which of them is meant, only who goes back says.
  const isOneNumber = before.version === previous.version
  if (isOneNumber && options.back !== entry.alias) return undefined
  const meant = { package: entry.package, source, ...after }
  const root = isOneNumber ? await openLocked(meant, options) : await openedAnew(meant, options, 'other-files')
  if (root === undefined) return undefined
  keepsTrust({ package: entry.package, ...after }, options.registry.trust, ofBefore)
  const opened = await openPackage(entry, { root, registry: options.registry, locked: after })
  if (opened.plugin === undefined) return { problems: opened.problems }
  demandHeap(entry, opened.plugin.manifest, options.maxHeapMb)
  return planned(entry, { before, after, manifest: opened.plugin.manifest, told: {}, options })
}

/** Verified; undefined where its bytes cannot be had any more, or are others. Error: PluginRefusal of the code `told`. */
async function openedAnew(locked: LockedPlugin, options: LockingOptions, told?: RefusalCode): Promise<string | undefined> {
  try {
    return await openLocked(locked, options)
  } catch (error) {
    if (error instanceof PluginRefusal && error.code !== told) return undefined
    throw error
  }
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
      ...previousTo(after, { entry, old }),
    },
    change: {
      alias: entry.alias,
      package: entry.package,
      kind: before === undefined ? 'added' : 'changed',
      ...(before === undefined ? {} : { before: versionOf(before) }),
      after,
      ...told,
      // Against what was accepted, whoever has changed the lock since.
      differences: differences(known && { ...known, permissions: old?.permissions ?? known.permissions }, manifest),
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
    `run: muster plugins remove ${alias}, if the new bytes are meant, and add it again; ask its publisher`,
  )
}

/** Of a version that was locked; undefined where its bytes cannot be had any more. */
async function manifestOf(locked: LockedPlugin, options: LockingOptions): Promise<PluginManifest | undefined> {
  const root = await openedAnew(locked, options)
  if (root === undefined) return undefined
  const { version, tree } = locked
  const entry = { alias: '', package: locked.package, version, source: locked.source }
  return (await openPackage(entry, { root, registry: options.registry, locked: { version, tree } })).plugin?.manifest
}
