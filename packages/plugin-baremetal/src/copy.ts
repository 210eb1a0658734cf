/**
 * Tars in and out of a worker. The system's tar does the work as the worker's own user, so that owners are right and no path leads
 * further than that user does; what goes in is taken apart and put together anew before, so that tar never sees what was sent.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { basename, dirname } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProviderError } from '@muster/core'
import { checkedTar } from '@muster/provider-parts/tar-check'
import { NOISE_CHARS, onlyGrew, type PackedFile, reasonIn, type Seen, seeing } from '@muster/provider-parts/whole'
import { isSystem, refused } from './errors.ts'
import type { Asker } from './kinds.ts'

/**
 * So much is held back until tar is past it: what cannot be read in a tree of this size is told before anything was sent, where the reason
 * can still be answered. A larger one is cut off.
 */
const HELD_BYTES = 1_048_576

/** `tar -x` below a folder that is made when absent. Words: the folder. */
export const unpackWords: readonly string[] = ['/bin/sh', '-c', 'mkdir -p -- "$1" && cd -- "$1" && exec tar -xof -', 'sh']
/** Exit status of {@link packWords} for a path that is not there: none of tar's own. */
const ABSENT = 44
/** `tar -c` of one tree. Words: its folder and its name. */
const packWords: readonly string[] = [
  '/bin/sh',
  '-c',
  `cd -- "$1" 2>/dev/null && { [ -e "./$2" ] || [ -h "./$2" ]; } || exit ${ABSENT}; export LC_ALL=C; exec tar -cf - -- "$2"`,
  'sh',
]

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
  const sent = pipeline(
    Readable.from(checkedTar(source, { count: () => undefined, look: asker.look })),
    child.stdin as Writable,
    { signal },
  ).catch((error: unknown) => {
    // Then tar says why it would not read on.
    if (isSystem(error, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE')) return
    child.kill('SIGKILL')
    throw error
  })
  const [code] = await Promise.all([ended, sent]).finally(() => asker.close())
  signal.throwIfAborted()
  if (code !== 0) throw failure(noise(), `unpack the tar in ${path}`)
}

/** `enter` starts words in the worker; `at` is absolute there, `path` as it was asked for. */
export interface Packing {
  enter(words: readonly string[]): ChildProcess
  at: string
  path: string
}

/** What `tar -c` sends. Nothing of a small tree is sent that could not be read whole. */
export async function* packed({ enter, at, path }: Packing, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const folder = dirname(at)
  const child = enter([...packWords, folder, basename(at)])
  const { noise, ended } = follow(child, signal)
  const files = new Map<string, PackedFile>()
  const seen: Seen = { files }
  const run = async (argv: readonly string[]): Promise<number | null> => {
    const asked = enter(argv)
    asked.stdin?.end()
    asked.stdout?.resume()
    return follow(asked, signal).ended
  }
  child.stdin?.end()
  try {
    const held: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of seeing((child.stdout ?? []) as AsyncIterable<Uint8Array>, seen)) {
      bytes += chunk.length
      held.push(chunk)
      if (bytes > HELD_BYTES) yield* held.splice(0)
    }
    const code = await ended
    signal.throwIfAborted()
    if (code === ABSENT) throw new ProviderError('not-found', `${path} is not there`, { effect: 'none', path })
    const isWhole =
      seen.isCut !== true && (code === 0 || (code === 1 && (await onlyGrew({ noise: noise(), files, folder, run }))))
    signal.throwIfAborted()
    if (!isWhole) throw failure(noise() || 'what packs it broke off', `read ${path}`)
    yield* held
  } finally {
    child.kill('SIGKILL')
  }
}

function follow(child: ChildProcess, signal: AbortSignal): { noise(): string; ended: Promise<number | null> } {
  let noise = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    if (noise.length < NOISE_CHARS) noise += chunk
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
  return { noise: () => noise.slice(0, NOISE_CHARS), ended }
}

/** The last line of each kind of tar, which only says that there was one before. */
const closing = /due to previous errors|delayed from previous errors|not recoverable: exiting now/

function failure(noise: string, doing: string): ProviderError {
  const last = reasonIn(noise, closing) ?? 'no reason given'
  if (/No space left|Disk quota/.test(noise)) return new ProviderError('capacity', `cannot ${doing}: ${last}`)
  if (/Permission denied|Not a directory|File exists|Is a directory|Cannot open/.test(noise))
    return refused('invalid-spec', 'path', { message: `cannot ${doing}: ${last}` })
  return new ProviderError('transient', `cannot ${doing}: ${last}`)
}
