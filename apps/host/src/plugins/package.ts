/** A package, opened and checked without being run: what it says of itself, and whether a host can load that. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { type PluginManifest, pluginManifestSchema } from '@muster/core'
import { authorTool, type PackageRefusal } from '@muster/packed/refusals'
import semver from 'semver'
import { z } from 'zod'
import { type Loaded, loadDocument } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import { checkAccepted, ofOtherShape } from './accepted.ts'
import { bundleDigest, filesDigest } from './build.ts'
import { hostContracts, negotiate } from './contract.ts'
import type { LockedPlugin } from './lock.ts'
import { bareGround, type Ground } from './ground.ts'
import { dependsOnGround, type Isolation, isolationOf } from './isolation.ts'
import type { Signer } from './signer.ts'
import type { LoadedRegistry, PluginEntry } from './registry.ts'
import { byHand } from './way-out.ts'
import { word } from './word.ts'

export interface DiscoveredPlugin {
  alias: string
  entry: PluginEntry
  manifest: PluginManifest
  /** Folder of the package's files. */
  root: string
  /** Absolute path of the one file that runs. */
  main: string
  /** The contract version both speak. */
  contract: string
  /** How far it is kept in on this machine. */
  isolation: Isolation
  /** Digest of all its files, as the lock has it; absent for a folder under development. */
  tree?: string
  /** One and the same for one and the same plugin. */
  digest: string
  /** Who signed it, as the lock has it; absent: somebody's word is for it. */
  signer?: Signer
}

interface PackageFile {
  name: string
  version: string
  muster?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  gypfile?: boolean
  /** Read where there is no lock. */
  files?: unknown
}

const packageSchema: z.ZodType<PackageFile> = z.object({
  name: z.string(),
  version: z.string(),
  muster: z.string().exactOptional(),
  dependencies: z.record(z.string(), z.string()).exactOptional(),
  optionalDependencies: z.record(z.string(), z.string()).exactOptional(),
  gypfile: z.boolean().exactOptional(),
  files: z.unknown().exactOptional(),
})

/** What runs in one file needs nothing beside it: the command that makes it so. */
const bundleCommand = 'npx tsup src/plugin.ts --format esm --platform node --no-external "/.*/"'

/** A manifest that is larger could not be told over the wire either, whose frames have as many. */
const maxDocumentBytes = 2 ** 20

export interface Opened {
  plugin?: DiscoveredPlugin
  problems: Problem[]
}

export const nowhere = (): Promise<Ground> => Promise.resolve(bareGround)

export interface OpenPackage {
  /** Folder of the package's files. */
  root: string
  registry: Pick<LoadedRegistry, 'problem'>
  /** Asked where it depends on it. Absent: nobody has looked. */
  ground?: () => Promise<Ground>
  /** Absent: a folder under development. */
  locked?: Pick<LockedPlugin, 'version' | 'tree'> & Partial<Pick<LockedPlugin, 'permissions' | 'signer'>>
}

/** Reads what a package says of itself, and checks it. Error: PluginRefusal `other-permissions`. */
export async function openPackage(
  entry: PluginEntry,
  { root, registry, ground = nowhere, locked }: OpenPackage,
): Promise<Opened> {
  const folder = locked === undefined ? root : undefined
  const shownRoot = locked === undefined ? root : `${entry.package}@${locked.version}`
  const shown = (name: string): string => `${shownRoot}/${name}`
  const pack = await readDocument(join(root, 'package.json'), shown('package.json'), packageSchema)
  if (pack.value === undefined) return { problems: coded(pack.problems, { code: 'bad-package', folder }) }
  const problems = await checkPackage(entry, { pack: pack.value, at: pack.problem, root, registry, locked })
  const manifestName = pack.value.muster
  if (manifestName === undefined) return { problems }
  if (!inside(root, manifestName)) return { problems: [...problems, pack.problem(['muster'], outside(manifestName, folder))] }
  const manifest = await readDocument(join(root, manifestName), shown(manifestName), pluginManifestSchema)
  if (manifest.value === undefined) {
    const code = manifest.missing ? 'no-manifest' : 'bad-manifest'
    const told = locked === undefined || manifest.unread ? manifest.problems : ofOtherShape(manifest.problems)
    return { problems: [...problems, ...coded(told, { code, folder })] }
  }
  problems.push(...(await checkManifest(manifest.value, { pack: pack.value, at: manifest.problem, root, folder })))
  const contract = negotiate(hostContracts, manifest.value.contract)
  if (problems.length > 0 || contract === undefined) return { problems }
  checkAccepted(entry, manifest.value, locked?.permissions)
  const main = resolve(root, manifest.value.entry)
  const { tree, signer } = locked ?? {}
  const { permissions, interpreter } = manifest.value
  const where = { entry, interpreter }
  const given = dependsOnGround(permissions, where) ? await ground() : bareGround
  return {
    problems,
    plugin: {
      ...{ alias: entry.alias, entry, manifest: manifest.value, root, main, contract },
      isolation: isolationOf(permissions, { ...where, ground: given }),
      ...(tree === undefined ? {} : { tree }),
      ...(signer === undefined ? {} : { signer }),
      digest:
        tree ??
        (await (interpreter === undefined ? bundleDigest : filesDigest)({ root, main, files: filesIn(pack.value, root) })),
    },
  }
}

interface Read<T> extends Loaded<T> {
  /** Nothing of it is known. */
  unread: boolean
  missing: boolean
}

async function readDocument<T>(path: string, shown: string, schema: z.ZodType<T>): Promise<Read<T>> {
  const refused = (reason: string, { fix, missing }: { fix: string; missing: boolean }): Read<T> => {
    const problem: Problem = { file: shown, line: 1, column: 1, reason, fix }
    return { problems: [problem], problem: () => problem, unread: true, missing }
  }
  try {
    if ((await stat(path)).size > maxDocumentBytes)
      return refused(`the file has more than ${maxDocumentBytes} bytes`, { fix: 'make it smaller', missing: false })
    return { ...loadDocument(shown, await readFile(path, 'utf8'), schema), unread: false, missing: false }
  } catch {
    return refused('the file is missing or cannot be read', { fix: 'pack the plugin with this file in it', missing: true })
  }
}

interface PackageCheck {
  pack: PackageFile
  at: Loaded<unknown>['problem']
  root: string
  registry: Pick<LoadedRegistry, 'problem'>
  locked: OpenPackage['locked']
}

async function checkPackage(entry: PluginEntry, { pack, at, root, registry, locked }: PackageCheck): Promise<Problem[]> {
  const here = ['plugins', entry.alias]
  const problems: Problem[] = []
  if (pack.name !== entry.package)
    problems.push(
      registry.problem([...here, 'package'], {
        code: 'other-package',
        reason: `the source holds '${pack.name}', not '${entry.package}'`,
        fix: byHand(`write '${pack.name}'; or use another source`, fileOf(registry)),
      }),
    )
  const isWanted = locked === undefined ? semver.satisfies(pack.version, entry.version) : pack.version === locked.version
  if (!isWanted)
    problems.push(
      registry.problem([...here, 'version'], {
        code: 'other-version',
        reason: `the source holds version ${pack.version}, not ${locked?.version ?? entry.version}`,
        fix:
          locked === undefined
            ? `run: muster plugins add --folder ${word(root)} --as ${entry.alias}; or use another source`
            : byHand(`write ${pack.version}; or use another source`, fileOf(registry)),
      }),
    )
  const needed = Object.keys({ ...pack.dependencies, ...pack.optionalDependencies })
  if (needed.length > 0) {
    const key =
      pack.dependencies === undefined || Object.keys(pack.dependencies).length === 0 ? 'optionalDependencies' : 'dependencies'
    problems.push(
      at([key], {
        at: 'key',
        code: 'dependencies' satisfies PackageRefusal,
        reason: `a plugin has no runtime dependencies, and this one has ${needed.join(', ')}`,
        fix: `run: ${bundleCommand}, as its author; then list them as devDependencies`,
      }),
    )
  }
  // A folder under development has its tools beside it; only what would be packed counts.
  const native = locked === undefined ? undefined : await findNative(root)
  if (pack.gypfile === true || native !== undefined)
    problems.push(
      at([], {
        code: 'native' satisfies PackageRefusal,
        reason: `a plugin has no native addons, and this one has ${native ?? 'a gypfile'}`,
        fix: `run: ${bundleCommand}, as its author, with a library without native code`,
      }),
    )
  if (pack.muster === undefined)
    problems.push(
      at([], {
        code: 'no-manifest' satisfies PackageRefusal,
        reason: 'the package names no plugin manifest',
        fix: 'run: npm pkg set muster=muster-plugin.json, as its author',
      }),
    )
  return problems
}

async function findNative(root: string): Promise<string | undefined> {
  const names = await readdir(root, { recursive: true })
  return names.find((name) => name.endsWith('.node') || name.endsWith('binding.gyp'))
}

interface ManifestCheck {
  pack: PackageFile
  at: Loaded<unknown>['problem']
  root: string
  /** That of its author, where it is one. */
  folder: string | undefined
}

async function checkManifest(manifest: PluginManifest, { pack, at, root, folder }: ManifestCheck): Promise<Problem[]> {
  const problems: Problem[] = []
  for (const key of ['name', 'version'] as const)
    if (manifest[key] !== pack[key])
      problems.push(
        at([key], {
          code: 'other-manifest' satisfies PackageRefusal,
          reason: `the manifest says ${key} ${manifest[key]}, package.json says ${pack[key]}`,
          fix: `run: npm pkg set ${word(`${key}=${manifest[key]}`)}, as its author; or write ${pack[key]} into the manifest`,
        }),
      )
  if (negotiate(hostContracts, manifest.contract) === undefined)
    problems.push(
      at(['contract'], {
        code: 'other-contract' satisfies PackageRefusal,
        reason: `it speaks contract ${manifest.contract.join(', ')}, this host ${hostContracts.join(', ')}`,
        fix: lintOf(folder, 'write a contract of this host, and let the suite run'),
      }),
    )
  if (!inside(root, manifest.entry)) problems.push(at(['entry'], outside(manifest.entry, folder)))
  else if ((await readFile(resolve(root, manifest.entry)).catch(() => undefined)) === undefined)
    problems.push(
      at(['entry'], {
        code: 'no-entry' satisfies PackageRefusal,
        reason: `the entry '${manifest.entry}' does not exist`,
        fix: `run: ${kit('build', folder)}, as its author, before it is packed`,
      }),
    )
  return problems
}

function filesIn({ files }: PackageFile, root: string): string[] {
  return Array.isArray(files) ? files.filter((name) => typeof name === 'string' && inside(root, name)) : []
}

function inside(root: string, name: string): boolean {
  const way = relative(root, resolve(root, name))
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`)
}

function outside(name: string, folder: string | undefined): { code: PackageRefusal; reason: string; fix: string } {
  return { code: 'outside', reason: `'${name}' is outside the package`, fix: lintOf(folder, 'name a file of the package') }
}

/** A command of the author's tools, in the folder of the plugin where that is not here. */
function kit(command: string, folder: string | undefined): string {
  return `${authorTool} ${command}${folder === undefined ? '' : ` --folder ${word(folder)}`}`
}

/** What an author types to see where it is, and what else there is. */
function lintOf(folder: string | undefined, what: string): string {
  return `run: ${kit('lint', folder)}, as its author; ${what}`
}

function coded(problems: readonly Problem[], { code, folder }: { code: PackageRefusal; folder: string | undefined }): Problem[] {
  return problems.map((one) => ({ ...one, code, fix: lintOf(folder, one.fix) }))
}

function fileOf({ problem }: Pick<LoadedRegistry, 'problem'>): string {
  return problem([], { reason: '', fix: '' }).file
}
