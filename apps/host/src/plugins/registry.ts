/** The registry manifest, `plugins.json`: which plugins this deployment may load, by alias. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { namePattern } from '@muster/core'
import semver from 'semver'
import { z } from 'zod'
import { type Loaded, loadDocument, withKeys } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'

export type PluginSource = { kind: 'folder'; path: string } | { kind: 'tarball'; path: string; sha512: string }

export interface PluginEntry {
  alias: string
  package: string
  /** Exact. */
  version: string
  source: PluginSource
}

interface SourceFile {
  folder?: string
  tarball?: string
  sha512?: string
}

interface RegistryFile {
  plugins: Record<string, { package: string; version: string; source: SourceFile }>
}

function strict<S extends z.core.$ZodLooseShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(shape, withKeys(Object.keys(shape)))
}

const source = strict({
  folder: z.string().min(1).exactOptional().describe('A package in a folder: for development.'),
  tarball: z.string().min(1).exactOptional().describe('A packed package.'),
  sha512: z
    .string()
    .regex(/^sha512-[A-Za-z0-9+/]{86}==$/, "write 'sha512-' and the 88 base64 digits of the tarball's SHA-512")
    .exactOptional(),
}).superRefine((value, context) => {
  if ((value.folder === undefined) === (value.tarball === undefined))
    context.addIssue({ code: 'custom', message: 'give exactly one of folder and tarball' })
  if (value.tarball !== undefined && value.sha512 === undefined)
    context.addIssue({ code: 'custom', message: 'a tarball needs its sha512, so that nobody can swap it' })
  if (value.folder !== undefined && value.sha512 !== undefined)
    context.addIssue({ code: 'custom', path: ['sha512'], message: 'a folder has no sha512: pack it to pin it' })
})

const registrySchema = strict({
  plugins: z.record(
    z.string().regex(namePattern, 'an alias has 1 to 40 of a-z, 0-9 and -'),
    strict({
      package: z.string().min(1),
      version: z.string().refine((value) => semver.valid(value) === value, {
        error: (issue) =>
          `'${String(issue.input)}' is no exact version: write 1.2.3; ranges are resolved by commands, never by the daemon`,
      }),
      source,
    }),
  ),
}) as unknown as z.ZodType<RegistryFile>

export interface LoadedRegistry {
  entries: PluginEntry[]
  problems: Problem[]
  problem: Loaded<unknown>['problem']
}

/** Reads and checks the file; `shown` is its name in problems. */
export async function loadRegistry(file: string, shown: string): Promise<LoadedRegistry> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const problem: Problem = {
      file: shown,
      line: 1,
      column: 1,
      reason: missing ? 'the registry manifest does not exist' : `it cannot be read: ${(error as Error).message}`,
      fix: missing ? 'create it with { "plugins": {} }, or name another as host.plugins' : 'give this user the right to read it',
    }
    return { entries: [], problems: [problem], problem: () => problem }
  }
  const loaded = loadDocument(shown, text, registrySchema)
  const entries = Object.entries(loaded.value?.plugins ?? {}).map(([alias, given]) => ({
    alias,
    package: given.package,
    version: given.version,
    source: sourceOf(given.source, dirname(file)),
  }))
  return { entries, problems: [...loaded.problems, ...clashes(entries, loaded.problem)], problem: loaded.problem }
}

function sourceOf(given: SourceFile, base: string): PluginSource {
  if (given.folder !== undefined) return { kind: 'folder', path: resolve(base, given.folder) }
  return { kind: 'tarball', path: resolve(base, given.tarball ?? ''), sha512: given.sha512 ?? '' }
}

/** Two aliases may be two versions of one package, or the same bytes twice; never the same version with different bytes. */
function clashes(entries: readonly PluginEntry[], at: Loaded<unknown>['problem']): Problem[] {
  const seen = new Map<string, PluginEntry>()
  const problems: Problem[] = []
  for (const entry of entries) {
    const key = `${entry.package}@${entry.version}`
    const other = seen.get(key)
    if (other === undefined) seen.set(key, entry)
    else if (JSON.stringify(other.source) !== JSON.stringify(entry.source))
      problems.push(
        at(['plugins', entry.alias], {
          at: 'key',
          reason: `the aliases '${other.alias}' and '${entry.alias}' clash: both are ${key}, from different sources`,
          fix: 'use one source for both, or give one another version',
        }),
      )
  }
  return problems
}
