/** The bytes of what the lock names: from the content store, a mirror or their source; whatever they come from, they are the locked ones. */
import { sha512Of } from '@muster/packed/digest'
import { addContent, findContent, verifyTree } from './content.ts'
import { keptAttestations, keptTarball } from './kept-tarballs.ts'
import type { LockedPlugin } from './lock.ts'
import { mirrored, mirroredAttestations } from './mirror.ts'
import { openOrigin, type OriginDeps } from './origins.ts'
import { PluginRefusal } from './refusal.ts'
import type { TrustPolicy } from './registry.ts'
import { staysSigned } from './trust.ts'

/** The folder of its unpacked files, verified. Errors: PluginRefusal. */
export async function openLocked(
  locked: LockedPlugin,
  deps: OriginDeps & { stores: readonly [string, ...string[]] },
): Promise<string> {
  const root =
    (await findContent(locked.sha512, deps.stores)) ?? (await addContent(await lockedBytes(locked, deps), deps.stores[0]))
  await verifyTree(root, locked.tree)
  return root
}

/** The tarball of a locked version, compared with the lock: that of one of the stores, if any, a mirror's, its source's. Errors: PluginRefusal. */
export async function lockedBytes(locked: LockedPlugin, deps: OriginDeps & { stores?: readonly string[] }): Promise<Buffer> {
  const { package: name, version, source } = locked
  const { mirror } = deps.registry
  const here =
    (await keptTarball(locked.sha512, deps.stores ?? [])) ??
    (mirror === undefined ? undefined : await mirrored(mirror, { name, version, sha512: locked.sha512 }))
  const bytes = here ?? (await (await openOrigin(source, deps)).tarball(name, version))
  checkBytes(locked, bytes)
  return bytes
}

/** What is attested of a locked version, from the same places. Believed by nobody before it is verified. Errors: PluginRefusal. */
export async function lockedAttestations(
  locked: LockedPlugin,
  deps: OriginDeps & { stores?: readonly string[] },
): Promise<unknown> {
  const { package: name, version, source } = locked
  const { mirror } = deps.registry
  return (
    (await keptAttestations(locked.sha512, deps.stores ?? [])) ??
    (mirror === undefined ? undefined : await mirroredAttestations(mirror, { name, version, sha512: locked.sha512 })) ??
    (await (await openOrigin(source, deps)).attestations(name, version))
  )
}

/** That of a store where it proves the signer, for it may be somebody else's; else that of a mirror or the source. Errors: PluginRefusal. */
export async function provenAttestations(
  locked: LockedPlugin,
  { stores, trust, ...deps }: OriginDeps & { stores: readonly string[]; trust: TrustPolicy },
): Promise<unknown> {
  const { signer, package: name, sha512 } = locked
  if (signer === undefined) return undefined
  const kept = await keptAttestations(sha512, stores)
  if (kept === undefined) return await lockedAttestations(locked, deps)
  const asked = { ...locked, before: { ...locked, signer, alias: name }, attestations: () => Promise.resolve(kept) }
  try {
    // As the lock has it: whether the rules of now want this signer is asked elsewhere.
    await staysSigned(asked, { ...trust, rules: [] })
    return kept
  } catch (error) {
    if (error instanceof PluginRefusal) return await lockedAttestations(locked, deps)
    throw error
  }
}

/** Error: PluginRefusal `other-bytes`. */
export function checkBytes({ package: name, version, sha512, size, source }: LockedPlugin, bytes: Buffer): void {
  const found = sha512Of(bytes)
  if (found === sha512 && bytes.length === size) return
  throw new PluginRefusal(
    'other-bytes',
    `the tarball of ${name}@${version} is not the locked one: its hash is ${found} (${bytes.length} bytes), the lock has ${sha512} (${size} bytes)`,
    // What is published never changes: of a file of one's own there may be other bytes.
    'tarball' in source
      ? 'run: muster plugins lock, if you trust the new ones; or put the locked ones there'
      : 'run: muster plugins verify, which says of each whose bytes are others; get the locked ones from a mirror, and tell who runs the source',
  )
}
