/** Tars of a pipeline: the workspace into one, artifacts as they come and under other names. */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { extract, type Header, pack, type Pack } from 'tar-stream'
import { scanFolder, WorkspaceError } from './scan.ts'

/** A tar in a file of its own. */
export interface PackedTar {
  file: string
  /** Hex, of the tar's bytes. */
  sha256: string
  bytes: number
}

/** Since the times of files differ between two checkouts of the same content, no tar of ours has any. */
const noTime = new Date(0)

type Entry = Partial<Header> & Pick<Header, 'name'>

/** Packs a folder. The same content gives the same bytes, whoever owns it and whenever it was written. */
export async function packWorkspace(
  root: string,
  { ignored, to }: { ignored: readonly string[]; to: string },
): Promise<PackedTar & { files: number }> {
  const entries = await scanFolder(root, ignored)
  const packed = await writeTar(to, async (tar) => {
    for (const entry of entries) {
      const header: Entry = { name: entry.path, mtime: noTime, mode: entry.executable ? 0o755 : 0o644 }
      if (entry.kind === 'folder') await put(tar, { ...header, type: 'directory' }, [])
      else if (entry.kind === 'link') await put(tar, { ...header, type: 'symlink', linkname: entry.target ?? '' }, [])
      else await putFile(tar, { ...header, type: 'file', size: entry.bytes }, join(root, entry.path))
    }
  })
  return { ...packed, files: entries.filter((entry) => entry.kind === 'file').length }
}

/**
 * Gives the one tree in a tar another name: an artifact made at `dist` goes to `lib`. A tar of one file stays one of one file. Throws
 * WorkspaceError for an entry that lies outside its tree.
 */
export async function renameTree(from: PackedTar, { name, to }: { name: string; to: string }): Promise<PackedTar> {
  return writeTar(to, async (tar) => {
    const reader = extract()
    const read = feed(reader, createReadStream(from.file))
    // What it throws is thrown below: here it only must not be unheard.
    read.catch(() => undefined)
    for await (const entry of reader) {
      const { pax: _old, ...header } = entry.header
      // Names travel in extended headers too (`pax`), and those would win.
      const next: Entry = { ...header, name: underName(header.name, name) }
      if (header.type === 'link') next.linkname = underName(header.linkname, name)
      await put(tar, next, entry as AsyncIterable<Uint8Array>)
    }
    await read
  })
}

/** Digest and size of bytes as they pass. */
async function* measured(
  source: AsyncIterable<Uint8Array>,
  done: (digest: { sha256: string; bytes: number }) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of source) {
    hash.update(chunk)
    bytes += chunk.length
    yield chunk
  }
  done({ sha256: hash.digest('hex'), bytes })
}

/** Writes a stream into a new file, and says what it was. */
export async function saveStream(source: AsyncIterable<Uint8Array>, to: string): Promise<PackedTar> {
  let digest = { sha256: '', bytes: 0 }
  await pipeline(
    measured(source, (result) => {
      digest = result
    }),
    createWriteStream(to, { mode: 0o600, flags: 'wx' }),
  )
  return { file: to, ...digest }
}

function underName(path: string, name: string): string {
  const parts = path.split('/').filter((part) => part !== '.' && part !== '')
  if (parts.length === 0 || parts.includes('..'))
    throw new WorkspaceError(`the artifact holds an entry '${path}' that lies outside it`)
  return [name, ...parts.slice(1)].join('/')
}

async function writeTar(to: string, fill: (tar: Pack) => Promise<void>): Promise<PackedTar> {
  const tar = pack()
  const filled = fill(tar).then(
    () => tar.finalize(),
    (error: unknown) => {
      tar.destroy(error as Error)
      throw error
    },
  )
  // The one who fails first says why; the other one only follows.
  const [saved] = await Promise.all([saveStream(tar as AsyncIterable<Uint8Array>, to), filled])
  return saved
}

/** One entry with its content; resolves when the tar has taken it. */
async function put(tar: Pack, header: Entry, content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const sink = tar.entry(header, (error) => (error ? reject(error) : resolve()))
  sink.on('error', reject)
  // Entries without content are complete from the start.
  if (header.type === 'file' || header.type === 'contiguous-file') await Promise.race([feed(sink, content), promise])
  await promise
}

async function putFile(tar: Pack, header: Entry, from: string): Promise<void> {
  // One that has grown since is cut where its announced size ends; one that has shrunk is an error of the tar.
  const content = header.size === 0 ? [] : createReadStream(from, { end: (header.size ?? 0) - 1 })
  await put(tar, header, content as AsyncIterable<Uint8Array>).catch((error: unknown) => {
    throw new WorkspaceError(`${header.name} cannot be packed, or changed meanwhile: ${(error as Error).message}`, {
      cause: error,
    })
  })
}

interface Sink {
  write(chunk: Uint8Array): boolean
  end(data?: unknown): unknown
  on(event: 'drain' | 'close', listener: () => void): unknown
  off(event: 'drain' | 'close', listener: () => void): unknown
  readonly destroyed: boolean
}

/** Writes all of a source as fast as the sink takes it, and ends it. Stops early when the sink has failed, which says why by itself. */
async function feed(sink: Sink, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  for await (const chunk of source) {
    if (sink.destroyed) return
    if (!sink.write(chunk))
      await new Promise<void>((resolve) => {
        const go = (): void => {
          sink.off('drain', go)
          sink.off('close', go)
          resolve()
        }
        sink.on('drain', go)
        sink.on('close', go)
      })
  }
  sink.end()
}
