/** A tar that is sent into a worker, taken apart and put together anew: what unpacks it there sees nothing but checked entries. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProviderError } from '@muster/core'
import { extract, type Header, pack } from 'tar-stream'

/** Entries that are asked about with one question, and what may be held of them for it: a round trip costs more than a thousand small files. */
const BATCH_ENTRIES = 256
const BATCH_BYTES = 1_048_576
const SMALL_BYTES = 65_536

/** Its name is relative, without `.` and `..`; `.` for the folder that all of it goes into. */
export type KeptHeader = Pick<Header, 'name' | 'type'> & Partial<Header>

/** Refuses entries that lead out of the folder they are unpacked in: one for each archive. */
export function createTarCheck(): (header: Header) => KeptHeader {
  const links = new Set<string>()
  const files = new Set<string>()

  function place(name: string): string {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.')
    if (name.startsWith('/') || name.includes('\0') || parts.includes('..')) throw bad(name, 'leads out of the folder')
    for (let count = 1; count < parts.length; count++)
      if (links.has(parts.slice(0, count).join('/'))) throw bad(name, 'goes through a symbolic link of the same archive')
    return parts.join('/')
  }

  return ({ name, type, mode, mtime, linkname, size, pax }) => {
    // Its content would be its map and what is between its holes.
    if (Object.keys(pax ?? {}).some((key) => key.startsWith('GNU.sparse.')))
      throw bad(name, 'is sparse: pack it without --sparse')
    const path = place(name)
    const kept = { name: path, mode: (mode ?? 0o644) & 0o7777, mtime: mtime ?? new Date(0) }
    if (type === 'directory') {
      // Unpacking it would replace the link that stands there, or follow it.
      if (links.has(path)) throw bad(name, 'is a symbolic link and a folder')
      return { ...kept, name: path === '' ? '.' : path, type }
    }
    if (path === '') throw bad(name, 'has no name')
    if (type === 'symlink') {
      links.add(path)
      files.delete(path)
      return { ...kept, type, linkname: linkname ?? '' }
    }
    if (type === 'link') {
      const target = place(linkname ?? '')
      if (!files.has(target)) throw bad(name, 'is a link to something else than an earlier file')
      files.add(path)
      return { ...kept, type, linkname: target }
    }
    if (type !== 'file' && type !== 'contiguous-file') throw bad(name, `is a ${type}: only files, folders and links are unpacked`)
    links.delete(path)
    files.add(path)
    return { ...kept, type: 'file', size: size ?? 0 }
  }
}

function bad(name: string, why: string): ProviderError {
  return new ProviderError('invalid-spec', `the entry ${JSON.stringify(name.slice(0, 200))} of the tar ${why}`, { path: 'tar' })
}

export interface Checks {
  /** Told of each entry's size; throws for one that is too much. */
  count(size: number): void
  /** Throws for the first one that would take the place of something of another kind. */
  look(entries: readonly KeptHeader[]): Promise<void>
}

/** The same archive with nothing but checked entries. Its own errors win over those of the reader. */
export function checkedTar(source: AsyncIterable<Uint8Array>, { count, look }: Checks): AsyncIterable<Uint8Array> {
  const check = createTarCheck()
  const out = pack()
  const reader = extract()
  let batch: { kept: KeptHeader; content: Buffer }[] = []
  let bytes = 0

  /** What is held is asked about with one question, then goes on. `last` comes with it, in pieces. */
  async function flush(last?: KeptHeader): Promise<void> {
    const held = batch
    batch = []
    bytes = 0
    await look([...held.map(({ kept }) => kept), ...(last === undefined ? [] : [last])])
    for (const { kept, content } of held)
      await new Promise<void>((resolve, reject) => {
        out
          .entry(kept, content, (error) => (error === null || error === undefined ? resolve() : reject(error)))
          .on('error', reject)
      })
  }

  async function take(header: Header, body: Readable, next: (error?: Error | null) => void): Promise<void> {
    const kept = check(header)
    count(kept.size ?? 0)
    if ((kept.size ?? 0) <= SMALL_BYTES) {
      const content = Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
      batch.push({ kept, content: kept.type === 'file' ? content : Buffer.alloc(0) })
      bytes += content.length
      if (batch.length >= BATCH_ENTRIES || bytes >= BATCH_BYTES) await flush()
      next()
      return
    }
    await flush(kept)
    const sink = out.entry(kept, (error) => next(error))
    // It fails with the whole, which whoever reads that is told; unheard it would end this process.
    sink.on('error', () => undefined)
    body.pipe(sink)
  }

  reader.on('entry', (header, body, next) => {
    // Its failure is the reader's, which is told below.
    body.on('error', () => undefined)
    take(header, body as unknown as Readable, next).catch((error: unknown) => reader.destroy(error as Error))
  })
  pipeline(Readable.from(source), reader)
    .then(() => flush())
    .then(
      () => out.finalize(),
      (error: unknown) => out.destroy(broken(error)),
    )
  return out as unknown as AsyncIterable<Uint8Array>
}

function broken(cause: unknown): Error {
  const error = cause instanceof Error ? cause : new Error(String(cause))
  // What is read of it says by its own name what went wrong there.
  if (error.name !== 'Error') return error
  return new ProviderError('invalid-spec', `not a tar: ${error.message}`, { path: 'tar', cause })
}
