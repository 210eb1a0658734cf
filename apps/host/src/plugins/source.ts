/** From a source to a folder on disk: a development folder as it is, a tarball into the content-addressed store. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import type { PluginSource } from './registry.ts'

/** A bundled plugin is a few MB; ten times the largest SDK leaves room, and a bomb is stopped. */
const maxTarballBytes = 64 * 2 ** 20
const maxUnpackedBytes = 256 * 2 ** 20
const maxEntries = 10_000

/** Why a source cannot be used, with what mends it. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
  readonly fix: string
  constructor(message: string, fix: string) {
    super(message)
    this.fix = fix
  }
}

/**
 * The folder that holds the package's files. A tarball is hashed (SHA-512), compared with its pin, checked entry by entry, and unpacked
 * into `<store>/<sha512 in hex>` by rename, so that two hosts at once and a kill in the middle leave a whole folder or none.
 */
export async function openSource(source: PluginSource, store: string): Promise<string> {
  if (source.kind === 'folder') {
    const found = await stat(source.path).catch(() => undefined)
    if (found?.isDirectory() !== true) throw new SourceError(`the folder '${source.path}' does not exist`, 'correct the path')
    return source.path
  }
  const bytes = await readTarball(source.path)
  const digest = createHash('sha512').update(bytes).digest()
  if (`sha512-${digest.toString('base64')}` !== source.sha512)
    throw new SourceError(
      `the tarball is not the pinned one: its hash is sha512-${digest.toString('base64')}`,
      'get the pinned tarball, or pin this one if you trust it',
    )
  const target = join(store, digest.toString('hex'))
  if (await isFolder(target)) {
    // Marked as used: what nobody has used for long is removed. A folder of another user is left as it is.
    const now = new Date()
    await utimes(target, now, now).catch(() => undefined)
    return target
  }
  const files = await readEntries(bytes)
  await unpack(files, target, store)
  return target
}

async function readTarball(path: string): Promise<Buffer> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile() !== true)
    throw new SourceError(`the tarball '${path}' does not exist`, 'correct the path, or pack the plugin')
  if (found.size > maxTarballBytes)
    throw new SourceError(`the tarball has ${found.size} bytes, more than ${maxTarballBytes}`, 'bundle the plugin into one file')
  return readFile(path)
}

/** The plain files of an archive by path inside the package. Everything else in it is a reason to refuse the whole. */
async function readEntries(bytes: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const seen = new Set<string>()
  try {
    // The cap is on what comes out, so that a compression bomb never fills memory.
    const tar = await promisify(gunzip)(bytes, { maxOutputLength: maxUnpackedBytes })
    const entries = extract()
    entries.end(tar)
    for await (const entry of entries) {
      const fault = entryFault(entry.header, seen)
      if (fault !== undefined)
        throw new SourceError(`the tarball is refused: ${fault}`, 'pack the plugin again with npm pack or pnpm pack')
      const body = await buffer(entry)
      // `package/…`: npm's own folder, whatever its name.
      const path = entry.header.name.split('/').slice(1).join('/')
      if (entry.header.type === 'file' && path !== '') files.set(path, body)
    }
  } catch (error) {
    if (error instanceof SourceError) throw error
    const large = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    const reason = large ? `it unpacks to more than ${maxUnpackedBytes} bytes` : `it cannot be read: ${(error as Error).message}`
    throw new SourceError(`the tarball is refused: ${reason}`, 'pack the plugin again')
  }
  if (files.size === 0) throw new SourceError('the tarball is refused: it is empty', 'pack the plugin again')
  return files
}

function entryFault({ name, type }: Header, seen: Set<string>): string | undefined {
  if (type !== 'file' && type !== 'directory') return `'${name}' is a ${type ?? 'thing'}, not a file`
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name) || name.includes('\\')) return `'${name}' is not a relative path`
  if (name.split('/').some((part) => part === '..' || part === '.')) return `'${name}' leaves the package`
  const folded = posix.normalize(name).toLowerCase().replace(/\/$/, '')
  if (type === 'file' && seen.has(folded)) return `'${name}' is there twice, or differs from another only in case`
  seen.add(folded)
  return seen.size > maxEntries ? `it has more than ${maxEntries} entries` : undefined
}

async function unpack(files: ReadonlyMap<string, Buffer>, target: string, store: string): Promise<void> {
  await mkdir(store, { recursive: true, mode: 0o755 })
  const draft = join(store, `.draft-${randomBytes(8).toString('hex')}`)
  try {
    for (const [path, body] of files) {
      await mkdir(dirname(join(draft, path)), { recursive: true, mode: 0o755 })
      // Read-only: what was hashed is what runs.
      await writeFile(join(draft, path), body, { flag: 'wx', mode: 0o444 })
    }
    await rename(draft, target)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    // Another host was quicker: the same hash is the same files.
    if (await isFolder(target)) return
    throw error
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}
