/** What is in a packed package: plain files only, checked before one of them is written. */
import { posix } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'

/** A bundled plugin is a few MB; ten times the largest SDK leaves room, and a bomb is stopped. */
export const maxTarballBytes: number = 64 * 2 ** 20
const maxUnpackedBytes = 256 * 2 ** 20
const maxEntries = 10_000

/** What is wrong with an archive, as the end of a sentence. */
export class ArchiveFault extends Error {
  override readonly name = 'ArchiveFault'
}

/** The plain files of an archive by path inside the package. Everything else in it is a reason to refuse the whole: ArchiveFault. */
export async function filesOf(tarball: Uint8Array): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const seen = new Map<string, 'file' | 'folder'>()
  try {
    // The cap is on what comes out, so that a compression bomb never fills memory.
    const tar = await promisify(gunzip)(tarball, { maxOutputLength: maxUnpackedBytes })
    const entries = extract()
    entries.end(tar)
    for await (const entry of entries) {
      const fault = entryFault(entry.header, seen)
      if (fault !== undefined) throw new ArchiveFault(fault)
      const body = await buffer(entry)
      // `package/…`: npm's own folder, whatever its name.
      const path = entry.header.name.split('/').slice(1).join('/')
      if (entry.header.type === 'file' && path !== '') files.set(path, body)
    }
  } catch (error) {
    if (error instanceof ArchiveFault) throw error
    const large = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    throw new ArchiveFault(
      large ? `it unpacks to more than ${maxUnpackedBytes} bytes` : `it cannot be read: ${(error as Error).message}`,
    )
  }
  if (files.size === 0) throw new ArchiveFault('it is empty')
  return files
}

function entryFault({ name, type }: Header, seen: Map<string, 'file' | 'folder'>): string | undefined {
  if (type !== 'file' && type !== 'directory') return `'${name}' is a ${type ?? 'thing'}, not a file`
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name) || name.includes('\\') || name.includes('\0'))
    return `'${name}' is not a relative path`
  if (name.split('/').some((part) => part === '..' || part === '.')) return `'${name}' leaves the package`
  const folded = posix.normalize(name).normalize('NFC').toLowerCase().replace(/\/$/, '')
  const parts = folded.split('/')
  const above = parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
  if (above.some((folder) => seen.get(folder) === 'file')) return `'${name}' is inside a file`
  if (type === 'file' && seen.has(folded)) return `'${name}' is there twice, or differs from another only in case`
  for (const folder of above) seen.set(folder, 'folder')
  seen.set(folded, type === 'file' ? 'file' : 'folder')
  return seen.size > maxEntries ? `it has more than ${maxEntries} entries` : undefined
}
