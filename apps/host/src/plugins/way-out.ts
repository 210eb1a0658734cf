/** The one command that gets out of a refusal, with the names and the version that it needs. Pure. */
import { type PackageRefusal, packageRefusals } from '@muster/packed/refusals'
import type { LockedPlugin } from './lock.ts'
import type { RefusalCode } from './refusal.ts'
import { pathOf, type PluginEntry, type PluginSource } from './registry.ts'
import { word } from './word.ts'

/** What another version of the same plugin may not have. */
const ofVersion: ReadonlySet<string> = new Set<RefusalCode>([
  ...(Object.keys(packageRefusals) as PackageRefusal[]),
  ...(['other-version', 'other-bytes', 'no-attestation', 'bad-bundle', 'other-subject', 'other-digest'] as const),
  ...(['untrusted-certificate', 'expired-certificate', 'unlogged-certificate', 'no-log-entry', 'bad-log-promise'] as const),
  ...(['bad-log-proof', 'other-log-entry', 'bad-timestamp', 'bad-signature', 'other-issuer', 'other-repository'] as const),
  ...(['other-workflow', 'other-signer', 'over-limit'] as const),
])

/** May another version of the plugin be free of it? */
export function isOfVersion(code: string | undefined): boolean {
  return code !== undefined && ofVersion.has(code)
}

/** A file that an operator writes, in whatever they write with. */
export function byHand(what: string, file = 'plugins.json'): string {
  return `run: \${EDITOR:-vi} ${word(file)}, and ${what}`
}

export interface ToAdd {
  alias: string
  package: string
  /** Absent: the registry of its scope. */
  source?: PluginSource
  /** Folder that paths of the source start from. */
  base?: string
}

/** Adds, or changes the version of what is there already. */
export function addCommand({ alias, package: name, source, base = '' }: ToAdd, version: string): string {
  if (source !== undefined && 'tarball' in source)
    return `muster plugins add --tarball ${word(pathOf(source, base) ?? '')} --as ${alias}`
  const from =
    source === undefined || 'folder' in source || ('registry' in source && source.registry === 'default')
      ? ''
      : 'mirror' in source
        ? ` --mirror ${word(pathOf(source, base) ?? '')}`
        : ` --registry ${source.registry}`
  return `muster plugins add ${word(`${name}@${version}`)} --as ${alias}${from}`
}

/** A command first, and what was said before as the other way. */
export function orElse(command: string, fix: string): string {
  return `run: ${command}; or ${fix.replace(/^run: /, '')}`
}

/** At a start, which resolves nothing: what the lock itself has, else what looks for another version. */
export function wayOfLocked(
  { code, fix }: { code?: string; fix: string },
  { entry: { alias, source }, locked }: { entry: PluginEntry; locked: Pick<LockedPlugin, 'previous'> | undefined },
): string {
  if (locked === undefined || !isOfVersion(code) || 'folder' in source) return fix
  const { previous } = locked
  // A file holds one version: the one before is in another, or nowhere.
  if ('tarball' in source && previous?.source === undefined) return fix
  return orElse(
    previous === undefined
      ? `muster plugins update ${alias}, which looks for a version that would do`
      : `muster plugins rollback ${alias}, back to ${previous.version}`,
    fix,
  )
}

/** Of a process that is not what its manifest says: its author can mend it, and whoever runs it can go back. */
export function wayOfMisdescribed({ alias, source }: Pick<PluginEntry, 'alias' | 'source'>): string {
  const author = 'build the plugin and its manifest from the same sources'
  return 'folder' in source ? author : `${author}; or, where the lock has a version before: muster plugins rollback ${alias}`
}
