/** `muster plugins mirror` and `verify`: the locked bytes, taken along and looked at again. */
import { normalize, resolve } from 'node:path'
import { MusterError } from '@muster/client'
import { pluginManifestSchema } from '@muster/core'
import { treeOf } from '@muster/packed/digest'
import { formatProblem } from '../../config/problem.ts'
import { filesOf } from '../../plugins/archive.ts'
import { findContent, verifyTree } from '../../plugins/content.ts'
import { clashesIn, clashProblem } from '../../plugins/clash.ts'
import { checkAccepted, checkReport } from '../../plugins/accepted.ts'
import { checkBytes, lockedAttestations, lockedBytes, provenAttestations } from '../../plugins/fetch.ts'
import { type LockedPlugin, lockedFor } from '../../plugins/lock.ts'
import { mirrored, mirroredAttestations, type ToMirror, writeMirror } from '../../plugins/mirror.ts'
import { jsonOf, namedIn } from '../../plugins/origin.ts'
import type { OriginDeps } from '../../plugins/origins.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import type { PluginEntry } from '../../plugins/registry.ts'
import { keepsTrust, staysSigned } from '../../plugins/trust.ts'
import { exits, print, printJson, say } from '../io.ts'
import type { Site } from './site.ts'
import { word } from '../../plugins/word.ts'

/** Writes all that the lock names, the versions before too. */
export async function mirrorPlugins(site: Site, { out, json }: { out: string; json?: true }): Promise<number> {
  if (site.problems.length > 0) return told(site)
  demandLocked(site)
  const all = await Promise.all(
    versionsOf(site).map(async (locked): Promise<ToMirror> => {
      const { package: name, version, published } = locked
      const tarball = await lockedBytes(locked, site)
      const attestations = await provenAttestations(locked, { ...site, trust: site.registry.trust })
      return { package: name, version, ...(published === undefined ? {} : { published }), tarball, attestations }
    }),
  )
  await writeMirror(out, all)
  const written = all.map(({ package: name, version }) => `${name}@${version}`)
  if (json === true) printJson({ mirror: out, written })
  else
    say(
      `${out} holds ${written.join(', ') || 'nothing'}; look at it again with: muster plugins verify --mirror ${word(out)} --frozen`,
    )
  return exits.ok
}

/** Once each; first what runs, by its number, and one that is signed before the same bytes on somebody's word. */
function versionsOf({ lock }: Site): LockedPlugin[] {
  const all = Object.values(lock.lock.plugins)
  const before = all.flatMap(({ previous, ...now }): LockedPlugin[] =>
    previous === undefined ? [] : [{ package: now.package, source: now.source, ...previous }],
  )
  const once = new Map<string, LockedPlugin>()
  for (const one of [...all, ...before])
    if (!once.has(one.sha512) || (one.signer !== undefined && once.get(one.sha512)?.signer === undefined))
      once.set(one.sha512, one)
  return [...once.values()]
}

interface Verified {
  alias: string
  package: string
  version: string
  fault?: { code: string; reason: string; fix: string }
}

/** With a mirror no network is needed. `frozen`: the registry manifest and the lock must fit as well. */
export async function verifyPlugins(
  site: Site,
  { mirror, frozen, json }: { mirror?: string; frozen?: true; json?: true },
): Promise<number> {
  if (site.problems.length > 0) return told(site)
  demandLocked(site)
  const verified = await Promise.all(
    lockedIn(site, mirror !== undefined).map(async ([alias, locked]): Promise<Verified> => {
      const one = { alias, package: locked.package, version: locked.version }
      const fault = await faultOf(() => verify(locked, { alias, site, ...(mirror === undefined ? {} : { mirror }) }))
      return fault === undefined ? one : { ...one, fault }
    }),
  )
  if (frozen === true)
    for (const entry of site.registry.entries) {
      const fault = 'folder' in entry.source ? undefined : await faultOf(() => fits(entry, site))
      if (fault !== undefined) verified.push({ alias: entry.alias, package: entry.package, version: entry.version, fault })
    }
  if (frozen === true) verified.push(...clashing(site))
  const wrong = verified.filter((one) => one.fault !== undefined)
  if (json === true) printJson({ plugins: verified })
  else
    for (const { alias, package: name, version, fault } of verified)
      print(
        fault === undefined
          ? `${alias}: ${name}@${version}: as locked`
          : `${alias}: ${name}@${version}: ${fault.code}: ${fault.reason}\n  fix: ${fault.fix}`,
      )
  say(
    wrong.length === 0 ? 'all plugins are those of the lock' : `${wrong.length} of ${verified.length} are not those of the lock`,
  )
  return wrong.length === 0 ? exits.ok : exits.failed
}

/** Those that a start would not take beside each other. */
function clashing({ lock: { lock }, registry }: Site): Verified[] {
  return clashesIn(lock).map((clash) => {
    const { code = '', reason, fix } = clashProblem(clash, registry.problem)
    const { package: name = '', version = '' } = lock.plugins[clash.alias] ?? {}
    return { alias: clash.alias, package: name, version, fault: { code, reason, fix } }
  })
}

/** As a start has it: the lock is for this entry, and its signers are those of the rules. Errors: PluginRefusal. */
async function fits(entry: PluginEntry, { lock, registry }: Site): Promise<void> {
  keepsTrust(lockedFor(entry, lock.lock), registry.trust)
}

/** By alias. `before`: the versions to go back to as well, which a mirror has to have; a source may have taken one back that is here. */
function lockedIn({ lock }: Site, before: boolean): [string, LockedPlugin][] {
  return Object.entries(lock.lock.plugins).flatMap(([alias, { previous, ...locked }]): [string, LockedPlugin][] => [
    [alias, locked],
    ...(before && previous !== undefined
      ? [[alias, { package: locked.package, source: locked.source, ...previous }] satisfies [string, LockedPlugin]]
      : []),
  ])
}

interface VerifyFrom {
  alias: string
  site: Site
  mirror?: string
}

async function verify(locked: LockedPlugin, { alias, site, mirror }: VerifyFrom): Promise<void> {
  const root = await findContent(locked.sha512, site.stores)
  if (root !== undefined) await verifyTree(root, locked.tree)
  await verifyInside(locked, {
    alias,
    tarball: await verifiedBytes(locked, { site, ...(mirror === undefined ? {} : { mirror }) }),
  })
  const { signer } = locked
  if (signer === undefined) return
  const attestations = (): Promise<unknown> =>
    mirror === undefined
      ? lockedAttestations(locked, sourcesOf(site))
      : mirroredAttestations(resolve(mirror), { name: locked.package, version: locked.version, sha512: locked.sha512 })
  await staysSigned({ ...locked, before: { ...locked, signer, alias }, attestations }, site.registry.trust)
}

/** What a start would refuse once it has unpacked them. */
async function verifyInside(locked: LockedPlugin, { alias, tarball }: { alias: string; tarball: Buffer }): Promise<void> {
  const files = await filesOf(tarball)
  const tree = treeOf(files)
  if (tree !== locked.tree)
    throw new PluginRefusal(
      'other-files',
      `the files in the locked bytes of ${locked.package}@${locked.version} are not those of the lock: they have the digest ${tree}, not ${locked.tree}`,
      `run: muster plugins update ${alias}, which shows what differs and asks; find out who changed the lock`,
    )
  const text = files.get('package.json')?.toString() ?? ''
  const held = namedIn(text)
  if (held?.name !== locked.package || held.version !== locked.version)
    throw new PluginRefusal(
      held?.name === locked.package ? 'other-version' : 'other-package',
      `the locked bytes of ${locked.package}@${locked.version} hold ${held === undefined ? 'no package' : `${held.name}@${held.version}`}`,
      `run: muster plugins update ${alias}, which shows what differs and asks; find out who changed the lock`,
    )
  const pack = jsonOf(text) as { muster?: string } | undefined
  const manifest = pluginManifestSchema.safeParse(jsonOf(files.get(normalize(pack?.muster ?? ''))?.toString() ?? ''))
  if (manifest.success) checkAccepted({ alias }, manifest.data, locked.permissions)
  checkReport({ alias }, locked, files)
}

function sourcesOf({ registry, network }: Site): OriginDeps {
  return { registry, ...(network === undefined ? {} : { network }) }
}

async function verifiedBytes(locked: LockedPlugin, { site, mirror }: { site: Site; mirror?: string }): Promise<Buffer> {
  // What is here is looked at beside; this asks whether its source still has it.
  if (mirror === undefined) return await lockedBytes(locked, sourcesOf(site))
  const { package: name, version } = locked
  const tarball = await mirrored(mirror, { name, version, sha512: locked.sha512 })
  if (tarball === undefined)
    throw new PluginRefusal(
      'no-package',
      `the mirror '${mirror}' has no ${name}@${version}`,
      `run: muster plugins mirror --out ${word(mirror)}, where it can be had`,
    )
  checkBytes(locked, tarball)
  return tarball
}

async function faultOf(work: () => Promise<unknown>): Promise<Verified['fault']> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (!(error instanceof PluginRefusal)) throw error
    return { code: error.code, reason: error.message, fix: error.fix }
  }
}

/** Of nothing all is right: a slip of a path would pass for ever. Plugins in folders have no lock. Error: MusterError `local`. */
function demandLocked({ text, shown, registry, lock }: Site): void {
  if (text === undefined)
    throw new MusterError('local', `there is no ${shown}`, {
      hint: 'Name the registry manifest with --manifest, or the configuration with -c.',
    })
  if (Object.keys(lock.lock.plugins).length === 0 && registry.entries.some(({ source }) => !('folder' in source)))
    throw new MusterError('local', `nothing of ${shown} is locked`, { hint: 'Run: muster plugins lock' })
}

function told({ problems }: Site): number {
  for (const problem of problems) print(formatProblem(problem))
  return exits.failed
}
