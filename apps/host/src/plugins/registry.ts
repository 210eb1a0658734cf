/** The registry manifest, `plugins.json`: which plugins this deployment may load, by alias, and where they come from. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { namePattern } from '@muster/core'
import semver from 'semver'
import { z } from 'zod'
import { type Loaded, loadDocument, strict } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import { durationSchema } from '../config/units.ts'
import type { Signer } from './signer.ts'

/** Where a package comes from, as written: paths are relative to the registry manifest. */
export type PluginSource = { folder: string } | { tarball: string } | { mirror: string } | { registry: string }

/** How far a plugin is kept in, from the loosest to the tightest. */
export const isolationLevels = ['L1', 'L2', 'L3'] as const
export type IsolationLevel = (typeof isolationLevels)[number]

export interface PluginEntry {
  alias: string
  package: string
  /** A range; the lock has the exact version. */
  version: string
  source: PluginSource
  /** The least that it must have; absent: any will do. */
  isolation?: IsolationLevel
  /** Where it cannot start, the version before takes over. */
  fallBack?: boolean
}

/** One npm registry. */
export interface RegistryAddress {
  /** Absent: the one that npm itself uses. */
  url?: string
  token?: { env: string } | { file: string }
}

/** Who signs packages. */
export interface TrustRule extends Signer {
  /** Packages, or scopes as `@acme/*`. */
  packages: readonly string[]
}

export interface TrustPolicy {
  rules: readonly TrustRule[]
  /** Absolute path of another trusted root than that of the public sigstore. */
  root?: string
}

export interface RegistryPolicy {
  /** A version counts once it is published this long. */
  minReleaseAgeMs: number
  /** Packages, or scopes as `@acme/*`, of which any age is fine. */
  exempt: readonly string[]
}

export interface RegistryFile {
  trust?: { root?: string; rules?: TrustRule[] }
  mirror?: string
  registries?: Record<string, RegistryAddress>
  policy?: { minReleaseAge?: number; exempt?: string[] }
  plugins: Record<
    string,
    { package: string; version: string; source?: SourceFile; isolation?: IsolationLevel; fallBack?: boolean }
  >
}

export interface SourceFile {
  folder?: string
  tarball?: string
  mirror?: string
  registry?: string
}

/** Most versions that turn out to be bad are taken back within a day. */
const minReleaseAgeMs = 24 * 3_600_000
const scopeName = /^@[a-z0-9-~][a-z0-9-._~]*\/\*$/
const packageName = /^(?:@[a-z0-9-~][a-z0-9-._~]*\/)?[a-z0-9-~][a-z0-9-._~]*$/
/** A package, by its name. */
export const packageSchema: z.ZodType<string> = z.string().regex(packageName, 'this is no name of an npm package')

/** A rule that means nothing would protect nothing, in silence. */
const named = z
  .string()
  .refine((value) => packageName.test(value) || scopeName.test(value), "write a package, or a scope as '@acme/*'")
const place = z.string().min(1).exactOptional()
const kinds = ['folder', 'tarball', 'mirror', 'registry'] as const
const source = strict({
  folder: place.describe('A package in a folder: for development, never locked.'),
  tarball: place.describe('A packed package.'),
  mirror: place.describe('A folder that muster plugins mirror has written.'),
  registry: place.describe('A name of registries. Default: that of the scope, or default.'),
}).superRefine((value, context) => {
  if (kinds.filter((kind) => value[kind] !== undefined).length !== 1)
    context.addIssue({ code: 'custom', message: `give exactly one of ${kinds.join(', ')}` })
})

const registry = strict({
  url: z
    .url({ protocol: /^https?$/ })
    .exactOptional()
    .describe('Its address. Default: the one that npm itself uses.'),
  token: z
    .union([strict({ env: z.string().min(1) }), strict({ file: z.string().min(1) })])
    .exactOptional()
    .describe('Where its token is: a variable, or a file.'),
}).refine(({ url, token }) => token === undefined || url !== undefined, 'a token needs the url that it is for')

/** As it is written. */
export const registrySchema: z.ZodType<RegistryFile> = strict({
  mirror: place.describe('A mirror in which locked bytes are looked for before their source is asked.'),
  registries: z
    .record(
      z.string().regex(/^(?:default|@[a-z0-9-~][a-z0-9-._~]*|[a-z0-9-]{1,40})$/, "write 'default', a scope or a name"),
      registry,
    )
    .exactOptional()
    .describe('npm registries, by scope or by a name of yours; `default` is that of all other packages.'),
  policy: strict({
    minReleaseAge: durationSchema.exactOptional().describe('A version counts once it is published this long. Default 24h.'),
    exempt: z.array(named).exactOptional().describe('Packages, or scopes as @acme/*, of which any age is fine.'),
  }).exactOptional(),
  trust: strict({
    root: place.describe('Another trusted root than that of the public sigstore, as sigstore publishes them.'),
    rules: z
      .array(
        strict({
          packages: z.array(named).min(1).describe('Packages, or scopes as @acme/*.'),
          issuer: z.url().describe('That told the authority who signs, as https://token.actions.githubusercontent.com.'),
          repository: z.url().describe('Where it is built from, as https://github.com/acme/plugin.'),
          workflow: z.string().min(1).describe('What builds it, as .github/workflows/release.yml.'),
        }),
      )
      .exactOptional()
      .describe('Who signs which packages, to the letter. What is named here is not loaded without that signature.'),
  }).exactOptional(),
  plugins: z.record(
    z.string().regex(namePattern, 'an alias has 1 to 40 of a-z, 0-9 and -'),
    strict({
      package: packageSchema.describe('Name of the npm package.'),
      version: z
        .string()
        .refine((value) => semver.validRange(value) !== null, {
          error: (issue) => `'${String(issue.input)}' is no version and no range: write 1.2.3 or ^1.2.3`,
        })
        .describe('A version or a range; the lock has the exact one.'),
      source: source.exactOptional(),
      isolation: z
        .enum(isolationLevels)
        .exactOptional()
        .describe('It is refused where it would have less isolation than this. Default: any will do.'),
      fallBack: z
        .boolean()
        .exactOptional()
        .describe('Where it cannot start by its own fault, the version before in the lock takes over. Default false.'),
    }),
  ),
})

export interface LoadedRegistry {
  entries: PluginEntry[]
  /** Absolute path. */
  mirror?: string
  registries: Readonly<Record<string, RegistryAddress>>
  policy: RegistryPolicy
  trust: TrustPolicy
  /** Folder of the file. */
  base: string
  problems: Problem[]
  problem: Loaded<unknown>['problem']
}

/** Reads and checks the file; `shown` is its name in problems. */
export async function loadRegistry(file: string, shown: string): Promise<LoadedRegistry> {
  try {
    return readRegistry(await readFile(file, 'utf8'), { base: dirname(file), shown })
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const problem: Problem = {
      file: shown,
      line: 1,
      column: 1,
      reason: missing ? 'the registry manifest does not exist' : `it cannot be read: ${(error as Error).message}`,
      fix: missing ? 'create it with { "plugins": {} }, or name another as host.plugins' : 'give this user the right to read it',
    }
    return { ...nothing(dirname(file)), problems: [problem], problem: () => problem }
  }
}

/** `base` is the folder that its paths start from. */
export function readRegistry(text: string, { base, shown }: { base: string; shown: string }): LoadedRegistry {
  const { value, problems, problem } = loadDocument(shown, text, registrySchema)
  if (value === undefined) return { ...nothing(base), problems, problem }
  const { registries = {}, policy = {}, trust = {}, mirror } = value
  const entries = Object.entries(value.plugins).map(([alias, given]) => ({
    alias,
    package: given.package,
    version: given.version,
    source: (given.source ?? { registry: registryOf(given.package, registries) }) as PluginSource,
    ...(given.isolation === undefined ? {} : { isolation: given.isolation }),
    ...(given.fallBack === undefined ? {} : { fallBack: given.fallBack }),
  }))
  return {
    base,
    entries,
    registries: Object.fromEntries(Object.entries(registries).map(([name, one]) => [name, placed(one, base)])),
    policy: { minReleaseAgeMs: policy.minReleaseAge ?? minReleaseAgeMs, exempt: policy.exempt ?? [] },
    trust: { rules: trust.rules ?? [], ...(trust.root === undefined ? {} : { root: resolve(base, trust.root) }) },
    ...(mirror === undefined ? {} : { mirror: resolve(base, mirror) }),
    problems: [...problems, ...unknownRegistries(entries, registries, problem)],
    problem,
  }
}

function nothing(base: string): Omit<LoadedRegistry, 'problems' | 'problem'> {
  return { base, entries: [], registries: {}, policy: { minReleaseAgeMs, exempt: [] }, trust: { rules: [] } }
}

function placed(address: RegistryAddress, base: string): RegistryAddress {
  const { token } = address
  return token === undefined || 'env' in token ? address : { ...address, token: { file: resolve(base, token.file) } }
}

/** The registry of a package of which nothing else is said. */
export function registryOf(name: string, registries: object): string {
  const scope = name.split('/')[0] ?? ''
  return name.includes('/') && Object.hasOwn(registries, scope) ? scope : 'default'
}

function unknownRegistries(entries: readonly PluginEntry[], registries: object, at: Loaded<unknown>['problem']): Problem[] {
  return entries.flatMap(({ alias, source: from }) => {
    if (!('registry' in from) || from.registry === 'default' || Object.hasOwn(registries, from.registry)) return []
    const known = Object.keys(registries)
    return [
      at(['plugins', alias, 'source', 'registry'], {
        reason: `no registry is named '${from.registry}'`,
        fix: `add it to registries${known.length === 0 ? '' : `, or write one of: ${known.join(', ')}`}`,
      }),
    ]
  })
}

/** Absolute path of a source that is one. */
export function pathOf(from: PluginSource, base: string): string | undefined {
  const path = 'folder' in from ? from.folder : 'tarball' in from ? from.tarball : 'mirror' in from ? from.mirror : undefined
  return path === undefined ? undefined : resolve(base, path)
}

/** How it is named to people. */
export function sourceName(from: PluginSource): string {
  const [kind, value] = Object.entries(from)[0] ?? ['', '']
  return kind === 'registry' && value === 'default' ? 'the registry' : `${kind} ${value}`
}
