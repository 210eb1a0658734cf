/** The content-addressed store of unpacked plugins: one folder for each SHA-512 of a tarball, whole or not there. */
import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { maxUnpackedBytes } from '@muster/packed/archive'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { filesOf } from './archive.ts'
import { hexOf, sha512OfHex } from './hex.ts'
import { keepTarball, keptTarball } from './kept-tarballs.ts'
import { PluginRefusal } from './refusal.ts'
import { word } from './word.ts'

/** The folder of these bytes in one of the stores. Error: PluginRefusal `other-files`, where something else has its name. */
export async function findContent(sha512: string, stores: readonly string[]): Promise<string | undefined> {
  for (const store of stores) {
    const folder = join(store, hexOf(sha512))
    if (!(await isFolder(folder))) continue
    // Marked as used: what nobody has used for long is removed. A folder of another user is left as it is.
    const now = new Date()
    const failed = await utimes(folder, now, now).catch((error: NodeJS.ErrnoException) => error.code)
    // It went in this moment.
    if (failed !== 'ENOENT') return folder
  }
  return undefined
}

/** Keeps the bytes, and unpacks them, each by rename, so that two hosts at once and a kill in the middle leave a whole folder or none. Error: PluginRefusal `other-files`. */
export async function addContent(tarball: Buffer, store: string): Promise<string> {
  const target = join(store, hexOf(sha512Of(tarball)))
  const isHere = await isFolder(target)
  const files = isHere ? new Map<string, Buffer>() : await filesOf(tarball)
  await mkdir(store, { recursive: true, mode: 0o755 })
  await keepTarball(tarball, store)
  if (isHere) return target
  const draft = join(store, `.draft-${randomBytes(8).toString('hex')}`)
  try {
    for (const [path, body] of files) {
      await mkdir(dirname(join(draft, path)), { recursive: true, mode: 0o755 })
      // Read-only: what was hashed is what runs.
      await writeFile(join(draft, path), body, { flag: 'wx', mode: 0o444, flush: true })
      await chmod(join(draft, path), 0o444)
    }
    // Whatever the umask: a plugin may run as another user, who has to read it.
    for (const folder of new Set([...files.keys()].flatMap(foldersOf))) await chmod(join(draft, folder), 0o755)
    await rename(draft, target)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    // Another host was quicker: the same hash is the same files.
    if (!(await isFolder(target))) throw error
  }
  return target
}

/** What somebody has removed from a store, as a refusal tells them to, is unpacked anew from its tarball. Error: PluginRefusal `other-files`. */
export async function unpackAnew(root: string): Promise<void> {
  if (await isFolder(root)) return
  const sha512 = sha512OfHex(basename(root))
  const tarball = sha512 === undefined ? undefined : await keptTarball(sha512, [dirname(root)])
  if (tarball !== undefined) await addContent(tarball, dirname(root))
  else
    throw new PluginRefusal(
      'other-files',
      `the unpacked files in ${root} are gone, and their tarball too`,
      'run: muster apply, which fetches what the lock holds',
    )
}

/** That of a package and all on the way to a file of it. */
function foldersOf(path: string): string[] {
  return path === '.' ? [path] : [...foldersOf(dirname(path)), dirname(path)]
}

/** Everything that lies in a folder now, by path. What is no plain file that can be read is a difference in itself: PluginRefusal `other-files`. */
export async function filesOfFolder(root: string): Promise<Map<string, Buffer>> {
  try {
    return await filesIn(root)
  } catch (error) {
    if (error instanceof PluginRefusal) throw error
    throw otherFiles(root, `they cannot be read: ${(error as Error).message}`)
  }
}

async function filesIn(root: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  let bytes = 0
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) continue
    if (!entry.isFile()) throw otherFiles(root, `'${path}' is not a file`)
    bytes += (await lstat(path)).size
    if (bytes > maxUnpackedBytes) throw otherFiles(root, `they have more than ${maxUnpackedBytes} bytes, as no package has`)
    files.set(path.slice(root.length + 1), await readFile(path))
  }
  return files
}

/** Of everything that lies in a folder now. */
export async function treeOfFolder(root: string): Promise<string> {
  return treeOf(await filesOfFolder(root))
}

/** Error: PluginRefusal `other-files`. */
export async function verifyTree(root: string, tree: string): Promise<void> {
  const found = await treeOfFolder(root)
  if (found !== tree) throw otherFiles(root, `they have the digest ${found}, not ${tree}`)
}

function otherFiles(root: string, fact: string): PluginRefusal {
  return new PluginRefusal(
    'other-files',
    `the unpacked files in ${root} are not those of the lock: ${fact}`,
    `run: rm -r ${word(root)}, and the locked bytes are unpacked anew; find out first who changed them`,
  )
}

/** False: nothing is there. A link is no folder: what it leads to may be anybody's. Error: PluginRefusal `other-files`. */
async function isFolder(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined)
  if (found?.isDirectory() === false) throw otherFiles(path, 'it is no folder')
  return found !== undefined
}
