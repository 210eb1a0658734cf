/** Parts of a locked version, as another one is made of it. Pure. */
import { isDeepStrictEqual } from 'node:util'
import type { LockedPlugin, LockedPrevious, LockedVersion } from './lock.ts'
import type { PluginEntry } from './registry.ts'

/** What an operator has agreed to, or is told. */
export function writtenOf({ tree, permissions, conformance }: LockedVersion): object {
  return { tree, permissions, conformance }
}

export function vouchedBy({ signer, waiver }: LockedVersion): Pick<LockedVersion, 'signer' | 'waiver'> {
  return { ...(signer === undefined ? {} : { signer }), ...(waiver === undefined ? {} : { waiver }) }
}

/** The same bytes, written down anew, are no version before themselves. */
export function previousTo(
  { sha512 }: LockedVersion,
  { entry, old }: { entry: PluginEntry; old: LockedPlugin | undefined },
): Pick<LockedPlugin, 'previous'> {
  const before = old?.sha512 === sha512 ? old.previous : old && versionOf(old)
  if (old === undefined || before === undefined) return {}
  const { source = old.source, ...version }: LockedPrevious = before
  return { previous: isDeepStrictEqual(source, entry.source) ? version : { ...version, source } }
}

export function versionOf({ package: _package, source: _source, previous: _previous, ...version }: LockedPlugin): LockedVersion {
  return version
}
