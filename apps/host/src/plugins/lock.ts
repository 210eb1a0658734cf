/** `plugins.lock.json`: the exact bytes of each plugin, and what was accepted of it. Written by commands; the daemon only reads it. */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { PluginPermissions } from '@muster/core'
import type { Conformance } from '@muster/packed/conformance'
import semver from 'semver'
import { z } from 'zod'
import { type Loaded, loadDocument, strict } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import { hexOf } from './hex.ts'
import type { Provenance } from './signer.ts'
import { PluginRefusal, type RefusalCode } from './refusal.ts'
import { packageSchema, type PluginEntry, type PluginSource, sourceName } from './registry.ts'
import { writeWhole } from './whole.ts'
import { word } from './word.ts'

/** Somebody vouches for the bytes without a signature. */
export interface Waiver {
  by: string
  /** ISO 8601. */
  at: string
  reason: string
}

/** One version: what its bytes are, and why they are trusted. */
export interface LockedVersion {
  version: string
  sha512: string
  /** Bytes of the tarball. */
  size: number
  /** Digest of the unpacked files. */
  tree: string
  /** When the source says it was published, ISO 8601. */
  published?: string
  /** Who signed it; else somebody's word. */
  signer?: Provenance
  waiver?: Waiver
  /** What its author says that the suite found; absent: its package has no report. */
  conformance?: Conformance
  /** What it may do, as accepted. */
  permissions: PluginPermissions
}

export interface LockedPlugin extends LockedVersion {
  package: string
  source: PluginSource
  /** The one before, to go back to. */
  previous?: LockedPrevious
}

export interface LockedPrevious extends LockedVersion {
  /** Where it came from; absent: from where the plugin comes now. */
  source?: PluginSource
}

export interface Lock {
  plugins: Record<string, LockedPlugin>
}

interface LockFile extends Lock {
  schema: 1
}

const names = z.array(z.string())
const digest = z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/, "'sha512-' and 88 base64 digits")
const instant = z.iso.datetime()
const count = z.int().min(0)
const conformance = z.union([
  strict({
    result: z.enum(['pass', 'fail', 'partial']),
    contract: z.string(),
    suite: z.string(),
    at: instant,
    passed: count,
    failed: count,
    notDeclared: count,
    report: digest.exactOptional(),
  }),
  strict({ result: z.literal('unfit'), reason: z.string() }),
])
const version = {
  version: z.string().refine((value) => semver.valid(value) === value, 'a lock has exact versions'),
  sha512: digest,
  size: z.int().min(1),
  tree: digest,
  published: instant.exactOptional(),
  signer: strict({
    issuer: z.string(),
    repository: z.string(),
    workflow: z.string(),
    ref: z.string().exactOptional(),
    commit: z.string().exactOptional(),
  }).exactOptional(),
  waiver: strict({ by: z.string().min(1), at: instant, reason: z.string().min(1) }).exactOptional(),
  conformance: conformance.exactOptional(),
  permissions: strict({
    net: names,
    unix: names,
    fsRead: names,
    fsWrite: names,
    env: names,
    childProcess: z.boolean(),
  }),
}
const text = z.string().min(1)
const from = z.union([strict({ tarball: text }), strict({ mirror: text }), strict({ registry: text })])
/** Bytes that nobody vouches for are not locked. */
function vouched<T extends z.ZodType>(schema: T): T {
  return schema.refine((value) => {
    const { signer, waiver } = value as Pick<LockedVersion, 'signer' | 'waiver'>
    return (signer === undefined) !== (waiver === undefined)
  }, 'it has either a signer or a waiver')
}

const lockSchema = strict({
  schema: z.literal(1),
  plugins: z.record(
    z.string(),
    vouched(
      strict({
        ...{ package: packageSchema, source: from, ...version },
        previous: vouched(strict({ ...version, source: from.exactOptional() })).exactOptional(),
      }),
    ),
  ),
}) as unknown as z.ZodType<LockFile>

export interface LoadedLock {
  lock: Lock
  problems: Problem[]
  problem: Loaded<unknown>['problem']
  /** The file as it was; undefined when there is none. */
  text: string | undefined
}

/** `plugins.lock.json` beside `plugins.json`. */
export function lockFileOf(registryFile: string): string {
  return `${registryFile.replace(/\.json$/, '')}.lock.json`
}

/** The registry manifest as it shall be, beside the one that is: what an upgrade is made from until it has taken over. Each upgrade names its own. */
export function candidateFileOf(registryFile: string, name: string): string {
  return `${registryFile.replace(/\.json$/, '')}.next-${name}.json`
}

/** How an upgrade names its own. */
export const candidateName: RegExp = /^[0-9a-f]{16}$/

/** Those that commands which were killed left; for whoever is {@link alone} with the files. */
export async function dropCandidates(registryFile: string): Promise<void> {
  const folder = dirname(registryFile)
  const [before, after] = candidateFileOf(basename(registryFile), '|').split('|') as [string, string]
  const ends = [lockFileOf(after), after]
  for (const name of await readdir(folder)) {
    const end = ends.find((one) => name.startsWith(before) && name.endsWith(one))
    if (end !== undefined && candidateName.test(name.slice(before.length, -end.length)))
      await rm(join(folder, name), { force: true })
  }
}

/** Reads and checks the file; `shown` is its name in problems. None is an empty one. */
export async function loadLock(file: string, shown: string): Promise<LoadedLock> {
  const text = await textOf(file)
  const code: RefusalCode = 'bad-lock'
  const nothing: Problem = { file: shown, line: 1, column: 1, reason: 'the lock does not exist', fix: 'run: muster plugins lock' }
  if (text === undefined) return { lock: { plugins: {} }, problems: [], problem: () => nothing, text }
  const { value, problems: found, problem } = loadDocument(shown, text, lockSchema)
  // Commands write it: what another version of them wrote is written anew, and not mended by hand.
  const problems = found.map((one) => ({
    ...one,
    code,
    fix: `run: mv ${word(shown)} ${word(`${shown}.old`)} && muster plugins lock, which chooses each version anew and knows no signer of before; or put back the lock that was; or, where another version of Muster wrote it, use that one; or mend it: ${one.fix}`,
  }))
  return { lock: value ?? { plugins: {} }, problems, problem, text }
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Names of the folders that the lock of a registry manifest needs, those to go back to as well. Error: the lock cannot be read. */
export async function lockedFolders(registryFile: string): Promise<string[]> {
  const { lock, problems } = await loadLock(lockFileOf(registryFile), 'the lock')
  // What it needs is not known then, and nothing may be removed.
  if (problems[0] !== undefined) throw new Error(`the lock cannot be read: ${problems[0].reason}`)
  return Object.values(lock.plugins).flatMap(({ sha512, previous }) =>
    [sha512, previous?.sha512].filter((one) => one !== undefined).map(hexOf),
  )
}

/** By alias, a digest of all that the lock of a registry manifest has of it. Nothing of one that cannot be read. */
export async function lockedDigests(registryFile: string): Promise<Map<string, string>> {
  const { lock } = await loadLock(lockFileOf(registryFile), 'the lock')
  const digestOf = (one: LockedPlugin): string => createHash('sha256').update(JSON.stringify(one)).digest('hex')
  return new Map(Object.entries(lock.plugins).map(([alias, one]) => [alias, digestOf(one)]))
}

/** Undefined: the lock of a registry manifest holds none of this alias, or cannot be read. */
export async function lockedVersion(registryFile: string, alias: string): Promise<string | undefined> {
  const { lock } = await loadLock(lockFileOf(registryFile), 'the lock')
  return Object.hasOwn(lock.plugins, alias) ? lock.plugins[alias]?.version : undefined
}

/** Error: PluginRefusal `changed-meanwhile`, where a file has another text than what was read. */
export async function checkFile(file: string, text: string | undefined): Promise<void> {
  if ((await textOf(file)) === text) return
  throw new PluginRefusal(
    'changed-meanwhile',
    `${file} was changed by somebody else meanwhile`,
    'run: muster plugins, which reads it anew; then the command again',
  )
}

/** Does the lock of a registry manifest hold just this version of an alias as the one to go back to? */
export async function holdsPrevious(
  registryFile: string,
  { alias, version: wanted, tree }: { alias: string; version: string; tree: string },
): Promise<boolean> {
  const { lock } = await loadLock(lockFileOf(registryFile), 'the lock')
  const previous = Object.hasOwn(lock.plugins, alias) ? lock.plugins[alias]?.previous : undefined
  return previous?.version === wanted && previous.tree === tree
}

/** By rename, and only over the text that was read. Error: PluginRefusal `changed-meanwhile`. */
export async function replaceFile(file: string, { before, after }: { before: string | undefined; after: string }): Promise<void> {
  if (before === after) return
  const mode = (await stat(file).catch(() => undefined))?.mode ?? 0o644
  await writeWhole(file, after, { mode: mode & 0o777, check: () => checkFile(file, before) })
}

/** The same lock is always the same text. */
export function lockText({ plugins }: Lock): string {
  const sorted = Object.fromEntries(Object.entries(plugins).sort(([one], [other]) => (one < other ? -1 : 1)))
  return `${JSON.stringify({ schema: 1, plugins: sorted }, null, 2)}\n`
}

/** What the lock has for an entry of the registry manifest. Errors: PluginRefusal `not-locked`, `lock-stale`. */
export function lockedFor({ alias, package: name, version: range, source: from }: PluginEntry, lock: Lock): LockedPlugin {
  const locked = Object.hasOwn(lock.plugins, alias) ? lock.plugins[alias] : undefined
  const fix = 'run: muster plugins lock'
  if (locked === undefined) throw new PluginRefusal('not-locked', `the lock has no plugin '${alias}'`, fix)
  const stale = (fact: string): PluginRefusal => new PluginRefusal('lock-stale', `the lock of '${alias}' is for ${fact}`, fix)
  if (locked.package !== name) throw stale(`the package ${locked.package}, not ${name}`)
  if (!isDeepStrictEqual(locked.source, from)) throw stale(`${sourceName(locked.source)}, not ${sourceName(from)}`)
  if (!semver.satisfies(locked.version, range, { includePrerelease: true }))
    throw stale(`version ${locked.version}, which is not in ${range}`)
  return locked
}
