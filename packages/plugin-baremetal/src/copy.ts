/**
 * Tars in and out of a worker. The system's tar does the work as the worker's own user, so that owners are right and no path leads
 * further than that user does; what goes in is taken apart and put together anew before, so that tar never sees what was sent.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProviderError } from '@muster/core'
import { extract, type Header, pack } from 'tar-stream'
import { isSystem, refused } from './errors.ts'
import type { Asker } from './kinds.ts'

/** What came over standard error, as far as a message needs it. */
const NOISE_BYTES = 2000
/**
 * So much is held back until tar is past it: what cannot be read in a tree of this size is told before anything was sent, where the reason
 * can still be answered. A larger one is cut off.
 */
const HELD_BYTES = 1_048_576

/** Entries that are checked with one question, and what may be held of them for it: a round trip costs more than a thousand small files. */
const BATCH_ENTRIES = 256
const BATCH_BYTES = 1_048_576
const SMALL_BYTES = 65_536

/** `tar -x` below a folder that is made when absent. Words: the folder. */
export const unpackWords: readonly string[] = ['/bin/sh', '-c', 'mkdir -p -- "$1" && cd -- "$1" && exec tar -xof -', 'sh']
/** Exit status of {@link packWords} for a path that is not there: none of tar's own. */
const ABSENT = 44
/** `tar -c` of one tree. Words: its folder and its name. */
export const packWords: readonly string[] = [
  '/bin/sh',
  '-c',
  `cd -- "$1" 2>/dev/null && { [ -e "./$2" ] || [ -h "./$2" ]; } || exit ${ABSENT}; exec tar -cf - -- "$2"`,
  'sh',
]

type KeptHeader = Pick<Header, 'name' | 'type'> & Partial<Header>

/** Refuses entries that lead out of the folder they are unpacked in: one for each archive. */
export function createTarCheck(): (header: Header) => KeptHeader {
  const links = new Set<string>()
  const files = new Set<string>()

  function place(name: string): string {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.')
    if (name.startsWith('/') || name.includes('\0') || parts.includes('..')) throw bad(name, 'leads out of the folder')
    for (let count = 1; count < parts.length; count++) {
      if (links.has(parts.slice(0, count).join('/'))) throw bad(name, 'goes through a symbolic link of the same archive')
    }
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
    if (links.delete(path)) files.delete(path)
    files.add(path)
    return { ...kept, type: 'file', size: size ?? 0 }
  }
}

function bad(name: string, why: string): ProviderError {
  return new ProviderError('invalid-spec', `the entry ${JSON.stringify(name.slice(0, 200))} of the tar ${why}`, { path: 'tar' })
}

/** The same archive with nothing but checked entries. Its own errors win over those of the reader. */
function checkedTar(source: AsyncIterable<Uint8Array>, { check: look }: Pick<Asker, 'check'>): Readable {
  const check = createTarCheck()
  const out = pack()
  const reader = extract()
  let batch: { kept: KeptHeader; content: Buffer }[] = []
  let bytes = 0

  /** What is held is checked with one question, then goes on. `last` comes with it, in pieces. */
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
    if (kept.type !== 'file' || (kept.size ?? 0) <= SMALL_BYTES) {
      const content = await contentOf(body)
      batch.push({ kept, content: kept.type === 'file' ? content : Buffer.alloc(0) })
      bytes += content.length
      if (batch.length >= BATCH_ENTRIES || bytes >= BATCH_BYTES) await flush()
      next()
      return
    }
    await flush(kept)
    const sink = out.entry(kept, (error) => next(error))
    // It fails with the whole, as when tar reads no more, which whoever reads that is told; unheard it would end this process.
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
  return out as unknown as Readable
}

async function contentOf(body: Readable): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
}

function broken(cause: unknown): Error {
  const error = cause instanceof Error ? cause : new Error(String(cause))
  if (error instanceof ProviderError || error.name === 'AbortError') return error
  return new ProviderError('invalid-spec', `not a tar: ${error.message}`, { path: 'tar', cause })
}

/** `child` is {@link unpackWords}, `asker` asks for its folder; `path` is that folder as it was asked for. */
export interface Unpacking {
  path: string
  child: ChildProcess
  asker: Asker
}

/** Sends a checked tar into `tar -x`. */
export async function unpack(
  { child, asker, path }: Unpacking,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const { noise, ended } = follow(child, signal)
  child.stdout?.resume()
  const sent = pipeline(checkedTar(source, asker), child.stdin as Writable, { signal }).catch((error: unknown) => {
    // Then tar says why it would not read on.
    if (isSystem(error, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE')) return
    child.kill('SIGKILL')
    throw error
  })
  const [code] = await Promise.all([ended, sent]).finally(() => asker.close())
  signal.throwIfAborted()
  if (code !== 0) throw failure(noise(), `unpack the tar in ${path}`)
}

/** What `tar -c` sends. Nothing of a small tree is sent that could not be read whole. */
export async function* packed(
  child: ChildProcess,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { noise, ended } = follow(child, signal)
  child.stdin?.end()
  try {
    const held: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of (child.stdout ?? []) as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      held.push(chunk)
      if (bytes > HELD_BYTES) yield* held.splice(0)
    }
    const code = await ended
    signal.throwIfAborted()
    if (code === ABSENT) throw new ProviderError('not-found', `${path} is not there`, { effect: 'none', path })
    // 1: a file changed while it was read; what was read is whole.
    if (code !== 0 && code !== 1) throw failure(noise(), `read ${path}`)
    yield* held
  } finally {
    child.kill('SIGKILL')
  }
}

function follow(child: ChildProcess, signal: AbortSignal): { noise(): string; ended: Promise<number | null> } {
  let noise = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    if (noise.length < NOISE_BYTES) noise += chunk
  })
  const kill = (): void => {
    child.kill('SIGKILL')
  }
  if (signal.aborted) kill()
  signal.addEventListener('abort', kill, { once: true })
  const ended = once(child, 'close').then(([code]) => {
    signal.removeEventListener('abort', kill)
    return code as number | null
  })
  ended.catch(() => undefined)
  return { noise: () => noise.slice(0, NOISE_BYTES).trim(), ended }
}

/** The last line of each kind of tar, which only says that there was one before. */
const closing = /due to previous errors|delayed from previous errors|not recoverable: exiting now/

function failure(noise: string, doing: string): ProviderError {
  const last = noise.split('\n').findLast((line) => line !== '' && !closing.test(line)) ?? 'no reason given'
  if (/No space left|Disk quota/.test(noise)) return new ProviderError('capacity', `cannot ${doing}: ${last}`)
  if (/Permission denied|Not a directory|File exists|Is a directory|Cannot open/.test(noise))
    return refused('invalid-spec', 'path', { message: `cannot ${doing}: ${last}` })
  return new ProviderError('transient', `cannot ${doing}: ${last}`)
}
