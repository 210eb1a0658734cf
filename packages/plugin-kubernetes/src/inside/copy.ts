/**
 * Tars in and out of a worker. The image's own tar does the work as the worker's user, so that owners are right and no path leads further than
 * that user does; where it has none, its shell.
 */
import { posix } from 'node:path'
import { ProviderError, type RawExec, type RawExecSession } from '@muster/core'
import { ApiFailure } from '../api/failure.ts'
import { type Asker, openAsker } from './asker.ts'
import { type CopyLimits, countCopy } from '@muster/provider-parts/copies'
import { asPlain, fromPlain, GIVE_PLAINLY, stdoutOf, TAKE_PLAINLY } from './plain.ts'
import { checkedTar } from '@muster/provider-parts/tar-check'
import { NOISE_CHARS, onlyGrew, type PackedFile, reasonIn, type Seen, seeing } from '@muster/provider-parts/whole'

export interface Copying {
  raw: RawExec
  /** Absolute, in the worker. */
  at: string
  /** As it was asked for. */
  path: string
  limits: CopyLimits
  signal: AbortSignal
}

/** Exit statuses of our scripts: none of tar's own, and none of a shell's. */
const ABSENT = 44
const NO_FOLDER = 45

const HAS_TAR = 'command -v tar >/dev/null 2>&1'

/** Of a folder, which is made when it is missing; says how it takes an archive, and whether anything is in it, then takes it. */
const UNPACK = `mkdir -p -- "$1" && cd -- "$1" || exit ${NO_FOLDER}
_m=fresh
for _f in * .[!.]* ..?*; do if [ -e "$_f" ] || [ -h "$_f" ]; then _m=full; break; fi; done
if ${HAS_TAR}; then echo "tar $_m"; tar -xpof - || exit; exec cat >/dev/null; fi
echo "plain $_m"${TAKE_PLAINLY}`

/** Of one tree; says how it gives it. Words: its folder and its name. */
const PACK = `cd -- "$1" 2>/dev/null && { [ -e "./$2" ] || [ -h "./$2" ]; } || exit ${ABSENT}
if ${HAS_TAR}; then echo tar; export LC_ALL=C; exec tar -cf - -- "$2"; fi
echo plain
shift${GIVE_PLAINLY}`

/**
 * Zeros behind the end of an archive, which tars allow. A node may close a program's input while the last of it is still in its pipes, which hold
 * less than this, and a tar that ends between two entries looks whole.
 */
const BEHIND_BYTES = 524_288

/** The longest is `plain fresh`. */
const ANSWER_CHARS = 16
/**
 * So much is held back until tar is past it: what cannot be read in a tree of this size is told before anything was sent, where the reason
 * can still be answered. A larger one is cut off.
 */
const HELD_BYTES = 1_048_576

/** Sends a checked tar into the worker's tar. */
export async function unpack({ raw, at, path, limits, signal }: Copying, tar: AsyncIterable<Uint8Array>): Promise<void> {
  const begun = Promise.withResolvers<string>()
  begun.promise.catch(() => undefined)
  const taken = Promise.withResolvers<void>()
  let asker: Asker | undefined
  let failure: unknown
  const look: Asker['look'] = async (entries) => asker?.look(entries)

  async function* content(): AsyncGenerator<Uint8Array> {
    try {
      const [way, there] = (await begun.promise).split(' ')
      if (there !== 'fresh') asker = await openAsker(raw, { folder: at, path }, signal)
      const checked = checkedTar(tar, { count: countCopy(limits, 'possible'), look })
      yield* way === 'tar' ? checked : asPlain(checked)
      if (way === 'tar') yield new Uint8Array(BEHIND_BYTES)
      // What takes it has its end in it.
      else await taken.promise
    } catch (error) {
      failure ??= error
      throw error
    }
  }

  let noise = ''
  let said = ''
  try {
    const { output, exit } = await raw({ argv: ['/bin/sh', '-c', UNPACK, 'sh', at], stdin: content(), signal })
    exit.catch(() => undefined)
    for await (const { stream, data } of output) {
      const text = Buffer.from(data).toString()
      if (stream === 'stderr') noise = (noise + text).slice(0, NOISE_CHARS)
      else if (said.length < ANSWER_CHARS) {
        said += text
        if (said.includes('\n')) begun.resolve(said.trim())
      }
    }
    judge(await exit, noise, `copy to ${path}`)
  } catch (error) {
    // What was sent broke off before what took it.
    throw failure ?? error
  } finally {
    taken.resolve()
    begun.reject(new Error('it did not begin'))
    asker?.close()
  }
}

/** What is packed in the worker. Nothing of a small tree is sent that could not be read whole. */
export async function* packed({ raw, at, path, limits, signal }: Copying): AsyncGenerator<Uint8Array> {
  const folder = posix.dirname(at)
  const argv = ['/bin/sh', '-c', PACK, 'sh', folder, posix.basename(at)]
  const session = await raw({ argv, signal })
  session.exit.catch(() => undefined)
  let noise = ''
  const said = stdoutOf(session, (text) => (noise = (noise + text).slice(0, NOISE_CHARS)))
  const count = countCopy({ ...limits, entries: Number.POSITIVE_INFINITY }, 'none')
  const held: Uint8Array[] = []
  let bytes = 0
  let failure: ApiFailure | undefined
  const files = new Map<string, PackedFile>()
  const seen: Seen = { files }
  try {
    const { way, rest } = await wayOf(said)
    for await (const data of way === 'plain' ? fromPlain(rest) : seeing(rest, seen)) {
      count(data.length)
      bytes += data.length
      held.push(data)
      if (bytes > HELD_BYTES) yield* held.splice(0)
    }
  } catch (error) {
    // Where it broke off in the worker, that is why.
    if (!(error instanceof ApiFailure) || error.code !== 'CHANGED') throw error
    failure = error
    for await (const _rest of said);
  }
  const ended = await session.exit
  if (ended.code === ABSENT) throw new ProviderError('not-found', `${path} is not there`, { effect: 'none', path })
  const run = async (words: readonly string[]): Promise<number | undefined> => (await exitOf(raw, words, signal)).code
  const grew = ended.code === 1 && seen.isCut !== true && (await onlyGrew({ noise, files, folder, run }))
  if (!grew) judge(ended, noise, `read ${path}`)
  if (failure !== undefined) throw failure
  if (seen.isCut === true) throw new ProviderError('transient', `cannot read ${path}: what packs it broke off`)
  yield* held
}

async function exitOf(raw: RawExec, argv: readonly string[], signal: AbortSignal): Promise<Awaited<RawExecSession['exit']>> {
  const session = await raw({ argv: [...argv], signal })
  session.exit.catch(() => undefined)
  for await (const _said of session.output);
  return session.exit
}

/** The first line, and what comes after it. */
async function wayOf(said: AsyncGenerator<Uint8Array>): Promise<{ way: string; rest: AsyncIterable<Uint8Array> }> {
  let first = Buffer.alloc(0)
  while (!first.includes(10) && first.length < ANSWER_CHARS) {
    const next = await said.next()
    if (next.done === true) break
    first = Buffer.concat([first, next.value])
  }
  const end = first.indexOf(10)
  async function* rest(): AsyncGenerator<Uint8Array> {
    if (end + 1 < first.length) yield first.subarray(end + 1)
    yield* said
  }
  return { way: first.toString('latin1', 0, Math.max(0, end)), rest: rest() }
}

/** The last line of each kind of tar, which only says that there was one before; what a `dd` says of its work. */
const closing =
  /due to previous errors|delayed from previous errors|not recoverable: exiting now|records? (?:in|out)$|bytes .*copied/

function judge({ code }: Awaited<RawExecSession['exit']>, noise: string, doing: string): void {
  if (code === 0) return
  const last = reasonIn(noise, closing) ?? `it ended with code ${code}`
  if (/No space left|Disk quota/i.test(noise)) throw new ProviderError('capacity', `cannot ${doing}: ${last}`)
  if (code === NO_FOLDER || /Permission denied|Not a directory|File exists|Is a directory|Cannot open|Read-only/i.test(noise))
    throw new ProviderError('invalid-spec', `cannot ${doing}: ${last}`, { path: 'path' })
  throw new ProviderError('transient', `cannot ${doing}: ${last}`)
}
