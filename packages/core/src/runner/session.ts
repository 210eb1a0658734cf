/** The conversation of one attach: requests of ours, answers of the worker, output in between. */
import { ProviderError, toProviderError } from '../errors.ts'
import type { ExecChunk, ExecSession, OutputStream, WorkerExit } from '../provider.ts'
import type { Channel } from './channel.ts'
import { lostExit, parseExit } from './exit.ts'
import { createInput, type Input } from './input.ts'
import type { Link } from './link.ts'
import { createTrack, type Track } from './mark.ts'

/** Right after output: a command that writes once mostly writes again. */
const SHORTEST_WAIT_MS = 10
/** A look costs the worker one short process; the end of the command rings and waits for no look. */
const LONGEST_WAIT_MS = 1000
/** The wait is this part of the silence so far, so that no line is late by more than that. */
const WAIT_PART = 1 / 8
/** While the worker passes on input or the last output, it needs no more than this. */
const BUSY_WAIT_MS = 20

interface SessionOptions {
  from: { stdout: number; stderr: number }
  input?: AsyncIterable<Uint8Array>
  /** What the worker keeps of each stream at most; 0: no limit. */
  logBytes: number
  /** Aborted: output and exit fail, also when nobody reads. */
  signal: AbortSignal
}

interface Answer {
  moved: boolean
  /** The supervisor is gone without an exit, and all output that was there then is read. */
  lost?: WorkerExit
}

/** Streams from the offsets on; `exit` settles when `output` has ended, and rejects when it failed or was left early. */
export function createSession(link: Link, options: SessionOptions): ExecSession {
  const { promise, resolve, reject } = Promise.withResolvers<WorkerExit>()
  promise.catch(() => undefined)
  const { signal } = options
  const abort = (): void => reject(toProviderError(signal.reason))
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  async function* output(): AsyncGenerator<ExecChunk, void, undefined> {
    try {
      resolve(yield* converse(link, options))
    } catch (error) {
      reject(error)
      throw error
    } finally {
      reject(new ProviderError('cancelled', 'the output was left before its end'))
      signal.removeEventListener('abort', abort)
      link.close()
    }
  }
  return { output: output(), exit: promise }
}

async function* converse({ reader, channel }: Link, options: SessionOptions): AsyncGenerator<ExecChunk, WorkerExit, undefined> {
  const tracks = { stdout: createTrack(options.from.stdout), stderr: createTrack(options.from.stderr) }
  const input = options.input && createInput(options.input, reader)
  let found: { exit: WorkerExit; alive: Record<OutputStream, boolean> } | undefined
  const missing: string[] = []
  let quietSince = performance.now()

  /** One answer up to its final dot. */
  async function* answer(): AsyncGenerator<ExecChunk, Answer, undefined> {
    const result: Answer = { moved: false }
    const got = { stdout: false, stderr: false }
    for (;;) {
      const words = (await reader.line()).split(' ')
      const [verb, first = '', second = ''] = words
      if (verb === 'o' || verb === 'e') {
        const stream = verb === 'o' ? 'stdout' : 'stderr'
        got[stream] = result.moved = true
        for await (const data of reader.bytes(Number(first))) yield* chunks(stream, tracks[stream].push(data))
      } else if (verb === 'x') {
        const { exit, mark } = parseExit(words.slice(3))
        for (const track of Object.values(tracks)) track.watch(mark)
        found = { exit, alive: { stdout: first === '1', stderr: second === '1' } }
      } else if (verb === 'u') result.lost = lostExit(Number(first))
      else if (verb === '.') {
        if (first !== '') input?.seen(Number(first), Number(second))
        if (found) yield* cut(got)
        return result
      } else throw refusal(words)
    }
  }

  /** A stream whose pump is dead ends without a mark once all of it is read: something of it is missing. */
  async function* cut(got: Record<OutputStream, boolean>): AsyncGenerator<ExecChunk, void, undefined> {
    for (const stream of ['stdout', 'stderr'] as const) {
      if (!found || tracks[stream].ended || found.alive[stream] || got[stream]) continue
      yield* chunks(stream, tracks[stream].flush())
      const isFull = options.logBytes > 0 && tracks[stream].offset >= options.logBytes
      tracks[stream] = endedTrack
      const why = isFull ? `the worker keeps ${options.logBytes} bytes of it` : 'the worker could not keep it'
      missing.push(`; the end of ${stream} is missing, ${why}`)
    }
  }

  try {
    for (;;) {
      request(channel, found ? undefined : input)
      const { moved, lost } = yield* answer()
      if (lost) return lost
      if (found && tracks.stdout.ended && tracks.stderr.ended)
        return { ...found.exit, reason: [found.exit.reason, ...missing].join('') }
      const now = performance.now()
      if (moved) {
        quietSince = now
        continue
      }
      const longest = found || input?.held === true ? BUSY_WAIT_MS : LONGEST_WAIT_MS
      await reader.idle(Math.min(longest, Math.max(SHORTEST_WAIT_MS, (now - quietSince) * WAIT_PART)))
    }
  } finally {
    input?.stop()
  }
}

const endedTrack: Track = { push: () => [], watch: () => undefined, flush: () => [], ended: true, offset: 0 }

function request(channel: Channel, input: Input | undefined): void {
  const segment = input?.segment()
  if (!segment) channel.send('t\n')
  else channel.send(Buffer.concat([Buffer.from(`w ${segment.offset} ${segment.data.length}\n`), segment.data]))
}

function* chunks(stream: OutputStream, parts: readonly { offset: number; data: Uint8Array }[]): Generator<ExecChunk> {
  for (const part of parts) yield { stream, ...part }
}

function refusal(words: readonly string[]): ProviderError {
  const text = words.slice(1).join(' ')
  if (words[0] === '!') return new ProviderError('conflict', text, { effect: 'none' })
  return new ProviderError('transient', 'the worker sent something else than the protocol', {
    cause: new Error(words.join(' ').slice(0, 200)),
  })
}
