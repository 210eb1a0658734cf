/** What a plugin says of itself against what was accepted of it, and against what this host can read. */
import { isDeepStrictEqual } from 'node:util'
import type { PluginManifest } from '@muster/core'
import { conformanceOf, reportFile } from '@muster/packed/conformance'
import { sha512Of } from '@muster/packed/digest'
import type { Problem } from '../config/problem.ts'
import { hostContracts } from './contract.ts'
import type { LockedPlugin } from './lock.ts'
import { PluginRefusal } from './refusal.ts'
import type { PluginEntry } from './registry.ts'
import { byHand } from './way-out.ts'

/** What somebody has seen and accepted is what it may do; a lock that was changed by hand or by a merge says something else. Error: PluginRefusal. */
export function checkAccepted(
  { alias }: Pick<PluginEntry, 'alias'>,
  { name, version, permissions }: PluginManifest,
  accepted: PluginManifest['permissions'] | undefined,
): void {
  if (accepted === undefined) return
  const keys = Object.keys(permissions) as (keyof PluginManifest['permissions'])[]
  const differ = keys.filter((key) => !isDeepStrictEqual(permissions[key], accepted[key]))
  if (differ.length === 0) return
  throw new PluginRefusal(
    'other-permissions',
    `the lock of '${alias}' accepts other permissions than ${name}@${version} asks for (${differ.join(', ')})`,
    `run: muster plugins update ${alias}, which shows what differs and asks; find out who changed the lock`,
  )
}

/** What a plugin takes of the machine has a bound that its operator has set. Error: PluginRefusal `over-limit`. */
export function demandHeap(
  { alias }: Pick<PluginEntry, 'alias'>,
  { limits: { heapMb } }: PluginManifest,
  most: number | undefined,
): void {
  if (most === undefined || heapMb <= most) return
  throw new PluginRefusal(
    'over-limit',
    `'${alias}' asks for a heap of ${heapMb} MiB, and the configuration gives at most ${most}`,
    byHand(`write at least ${heapMb} as host.isolation.maxHeapMb, if it may`, 'muster.yaml'),
  )
}

/** The report is among the locked bytes: what a lock says of it is what it says. Error: PluginRefusal. */
export function checkReport(
  { alias }: Pick<PluginEntry, 'alias'>,
  { package: name, version, conformance }: Pick<LockedPlugin, 'package' | 'version' | 'conformance'>,
  files: ReadonlyMap<string, Uint8Array>,
): void {
  const found = conformanceOf(files, { name, version })
  if (isDeepStrictEqual(found, conformance)) return
  // Of one that was locked before the digest was kept, the rest is what there is to compare.
  if (found !== undefined && conformance !== undefined && 'report' in found && !('report' in conformance)) {
    const { report: _report, ...rest } = found
    if (isDeepStrictEqual(rest, conformance)) return
  }
  const digest = files.get(reportFile)
  throw new PluginRefusal(
    'other-report',
    `the lock of '${alias}' says something else of the conformance report of ${name}@${version} than that says: ${digest === undefined ? 'there is none' : `it is ${sha512Of(digest)}`}`,
    `run: muster plugins update ${alias}, which reads it anew; find out who changed the lock`,
  )
}

/** Problems of the manifest of a packed version: it may be made for another host. */
export function ofOtherShape(problems: readonly Problem[]): Problem[] {
  const ours = `contract ${hostContracts.join(', ')}`
  return problems.map(({ reason, ...at }) => ({
    ...at,
    reason: `it is no manifest of ${ours}, as this host speaks it: ${reason}`,
    fix: 'take a version that was made for it, or the host that this version was locked with',
  }))
}
