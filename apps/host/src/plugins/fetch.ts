/** The bytes of what the lock names: from the content store, a mirror or their source; whatever they come from, they are the locked ones. */
import { sha512Of } from '@muster/packed/digest'
import { addContent, findContent, verifyTree } from './content.ts'
import type { LockedPlugin } from './lock.ts'
import { mirrored } from './mirror.ts'
import { openOrigin, type OriginDeps } from './origins.ts'
import { PluginRefusal } from './refusal.ts'

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

/** The tarball of a locked version, compared with the lock. Errors: PluginRefusal. */
export async function lockedBytes(locked: LockedPlugin, deps: OriginDeps): Promise<Buffer> {
  const { package: name, version, source } = locked
  const { mirror } = deps.registry
  const here = mirror === undefined ? undefined : await mirrored(mirror, { name, version })
  const bytes = here ?? (await (await openOrigin(source, deps)).tarball(name, version))
  checkBytes(locked, bytes)
  return bytes
}

/** Error: PluginRefusal `other-bytes`. */
export function checkBytes({ package: name, version, sha512, size }: LockedPlugin, bytes: Buffer): void {
  const found = sha512Of(bytes)
  if (found === sha512 && bytes.length === size) return
  throw new PluginRefusal(
    'other-bytes',
    `the tarball of ${name}@${version} is not the locked one: its hash is ${found} (${bytes.length} bytes), the lock has ${sha512} (${size} bytes)`,
    'get the locked bytes from a mirror; or, if you trust the new ones, run: muster plugins lock',
  )
}
