/** What is in a packed package: plain files only, checked before one of them is written. */
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'

/** A bundled plugin is a few MB; ten times the largest SDK leaves room, and a bomb is stopped. */
export const maxTarballBytes: number = 64 * 2 ** 20
/** Of all files together. */
export const maxUnpackedBytes: number = 256 * 2 ** 20
const maxEntries = 10_000
/** What file systems take for one name. */
const maxNameBytes = 255
/** Room is left for the folder that it is unpacked into, in the 4096 that Linux takes. */
const maxPathBytes = 1024

/** What is wrong with an archive, as the end of a sentence. */
export class ArchiveFault extends Error {
  override readonly name = 'ArchiveFault'
}

/** The plain files of an archive by path inside the package. Everything else in it is a reason to refuse the whole: ArchiveFault. */
export async function filesOf(tarball: Uint8Array): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const seen: Seen = { paths: new Map() }
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
      const path = entry.header.name.split('/').slice(1).filter(isPart).join('/')
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

/** What came before. */
interface Seen {
  /** The one folder at its top. */
  top?: string
  /** Inside of that, in the form in which two are the same to some system. */
  paths: Map<string, 'file' | 'folder'>
}

function entryFault({ name, type }: Header, seen: Seen): string | undefined {
  const shown = shownName(name)
  const parts = name.split('/')
  if (type !== 'file' && type !== 'directory') return `'${shown}' is a ${type ?? 'thing'}, not a file`
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name) || name.includes('\\')) return `'${shown}' is not a relative path`
  if (parts.some((part) => part === '..' || part === '.')) return `'${shown}' leaves the package`
  if (/\p{Cc}/u.test(name)) return `'${shown}' has a control character`
  if (Buffer.byteLength(name) > maxPathBytes || parts.some((part) => Buffer.byteLength(part) > maxNameBytes))
    return `'${shown}' is too long`
  // Two files at once would be at one path: which of them is meant is not ours to guess.
  const [top = '', ...below] = parts
  seen.top ??= top
  if (top !== seen.top || (type === 'file' && below.length === 0))
    return `'${shown}' is beside '${seen.top}', the folder of the package`
  return pathFault(below.join('/'), { shown, type, paths: seen.paths })
}

function pathFault(
  path: string,
  { shown, type, paths }: { shown: string; type: 'file' | 'directory'; paths: Seen['paths'] },
): string | undefined {
  const parts = folded(path).split('/').filter(isPart)
  const above = parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
  if (above.some((folder) => paths.get(folder) === 'file')) return `'${shown}' is inside a file`
  const whole = parts.join('/')
  if (type === 'file' && paths.has(whole)) return `'${shown}' is there twice, or differs from another only in case`
  for (const folder of above) paths.set(folder, 'folder')
  paths.set(whole, type === 'file' ? 'file' : 'folder')
  return paths.size > maxEntries ? `it has more than ${maxEntries} entries` : undefined
}

/** Two slashes are one. */
function isPart(part: string): boolean {
  return part !== ''
}

/** By way of capitals: ſ and s, ß and ss are one only so. */
function folded(path: string): string {
  return path.normalize('NFC').toUpperCase().toLowerCase().normalize('NFC')
}

/** For a line of text. */
function shownName(name: string): string {
  const harmless = name.slice(0, 100).replaceAll(/\p{C}/gu, '?')
  return name.length > 100 ? `${harmless}…` : harmless
}
