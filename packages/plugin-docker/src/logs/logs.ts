/** A worker's output, every byte once, from a cursor on. */
import type { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { LogChunk, LogOptions, OutputStream } from '@muster/core'
import { type ContainerInspect, type Engine, toFailure } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { createFrameReader, type Frame } from '../engine/frames.ts'
import { createLogLeap, fileBytesOf, type LogLeap } from './leap.ts'
import { createLogOrder } from './order.ts'
import { createLogPosition, type LogPosition, type Reading } from './position.ts'
import { pause } from '@muster/provider-parts/waiting'

/** The contract's limit for one chunk. */
const CHUNK_BYTES = 64 * 1024

/**
 * An engine sends each line by itself, some 10 µs apart: what comes while this passes is read in one go. Whoever follows waits no longer
 * than that for a line after the first. More than a stream holds (64 KiB) would not be gathered in a longer time.
 */
const GATHER_MS = 2
/** So much at once is worth its costs: the engine is ahead of us, and a wait would only slow it down. */
const ENOUGH_BYTES = 8 * 1024

/** Where its files brought nothing new either, an engine that goes astray is followed again after a while. */
const AGAIN_MS = 1000

export interface LogSource {
  engine: Engine
  /** Path of the container, as `/containers/name`. */
  path: string
  /** Asks how the container is; undefined when it is not there any more. */
  inspect(): Promise<ContainerInspect | undefined>
  /** Was it started again? Then when its worker's output had ended, in milliseconds since 1970. One that was resumed goes on. */
  endOf(container: ContainerInspect): Promise<number | undefined>
  /** Told when that gets known; what is returned ends it. */
  onAgain(listener: () => void): () => void
  /** Told when entries are missing in what was handed on. */
  onGap(): void
  signal: AbortSignal
}

/** Reads to the end of what is there, or with `follow` to the container's end. Throws an EngineFailure. */
export async function* readLogs(source: LogSource, options: LogOptions): AsyncGenerator<LogChunk> {
  let cursor = options.cursor
  const order = createLogOrder()
  let leap: LogLeap | undefined
  let trust: Reading['by'] = 'live'
  for (;;) {
    const before = await mustExist(source)
    leap ??= createLogLeap(fileBytesOf(before.HostConfig.LogConfig))
    const until = await source.endOf(before)
    const open = options.follow && isLive(before) && until === undefined
    const by: Reading['by'] = trust === 'live' && !open ? 'files' : trust
    const from = cursor
    const position = createLogPosition(cursor, { order, leap, by })
    const end = yield* readOnce(source, position, { leap, follow: by === 'live', until })
    cursor = position.cursor()
    if (position.gap) source.onGap()
    if (end === 'astray') {
      // Where the engine goes astray in what it sends, its files say what comes next; where they are not as they were, time does.
      trust = by === 'live' ? 'files' : 'times'
      continue
    }
    const asked = trust
    trust = 'live'
    // What was read after the end is whole.
    if (!open) return
    if (asked !== 'live') {
      if (cursor === from) await pause(AGAIN_MS, source.signal)
      continue
    }
    // A followed stream also ends when the container vanishes, and may end before the last lines: look, then read the rest.
    if (end === 'cut') continue
    const after = await mustExist(source)
    if (isLive(after) && (await source.endOf(after)) === undefined)
      throw new EngineFailure('the log ended before its worker', { code: 'ECONNRESET', sent: true })
  }
}

async function mustExist(source: LogSource): Promise<ContainerInspect> {
  const container = await source.inspect()
  if (container === undefined) throw new EngineFailure('No such container: it vanished', { status: 404, sent: true })
  return container
}

function isLive({ State: state }: ContainerInspect): boolean {
  return state.Running || state.Paused || state.Restarting
}

/** How a read ended: with what the engine sent, by ourselves as it was told of another start, or at an entry that cannot come next. */
type ReadEnd = 'end' | 'cut' | 'astray'

async function* readOnce(
  source: LogSource,
  position: LogPosition,
  { leap, follow, until }: { leap: LogLeap; follow: boolean; until: number | undefined },
): AsyncGenerator<LogChunk, ReadEnd> {
  const { engine, path, signal } = source
  const end = until === undefined ? {} : { until: (until / 1000).toFixed(9) }
  const query = { follow, stdout: true, stderr: true, timestamps: true, since: position.since, ...end }
  const reply = await engine.stream({ method: 'GET', path: `${path}/logs`, query, signal })
  const reader = createFrameReader()
  let over = false
  // The engine follows one through its end into its next run.
  const deaf = source.onAgain(() => {
    over = follow
    if (over) reply.destroy()
  })
  try {
    let flows = false
    let asked = performance.now()
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      leap.waited(performance.now() - asked)
      const bytes = takeAll(reply, chunk)
      if ((yield* chunksOf(reader.push(bytes), position)) === 'astray') return 'astray'
      // After much of it there is more at the next turn of the loop, of which this was the first to come.
      if (bytes.length < ENOUGH_BYTES) await (flows ? nextTurn() : pause(GATHER_MS, signal))
      const rest = takeAll(reply)
      if ((yield* chunksOf(reader.push(rest), position)) === 'astray') return 'astray'
      flows = bytes.length + rest.length >= ENOUGH_BYTES
      asked = performance.now()
    }
    if (over) return 'cut'
    reader.end()
    // What ended before its output may have fewer than were read of its next run.
    return position.end() || follow || until !== undefined ? 'end' : 'astray'
  } catch (error) {
    if (over) return 'cut'
    throw toFailure(error)
  } finally {
    deaf()
    reply.destroy()
  }
}

/** What a stream holds now, after what it has given already: it gives each piece as it came. */
function takeAll(stream: Readable, ...pieces: Buffer[]): Buffer {
  for (let piece = stream.read() as Buffer | null; piece !== null; piece = stream.read() as Buffer | null) pieces.push(piece)
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
}

/** Puts neighbouring entries of one stream together: a chunk for each line would cost more than the lines. */
function* chunksOf(frames: readonly Frame[], position: LogPosition): Generator<LogChunk, 'end' | 'astray'> {
  let stream: OutputStream = 'stdout'
  let held: Buffer[] = []
  let bytes = 0
  // Asked for before the next entry is taken: a word for each would cost more than the rest of it.
  const flush = function* (): Generator<LogChunk> {
    if (bytes === 0) return
    yield { stream, cursor: position.cursor(), data: held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held, bytes) }
    held = []
    bytes = 0
  }
  for (const frame of frames) {
    const { time, data } = splitTime(frame.data)
    if (data.length > CHUNK_BYTES) throw new EngineFailure('a log entry is longer than an engine writes', { sent: true })
    // One byte more, where a newline is put back.
    if (frame.stream !== stream || bytes + data.length + 1 > CHUNK_BYTES) yield* flush()
    const taken = position.take({ stream: frame.stream, time, data })
    if (taken === undefined) {
      yield* flush()
      return 'astray'
    }
    stream = frame.stream
    for (const part of taken) {
      held.push(part)
      bytes += part.length
    }
  }
  yield* flush()
  return 'end'
}

/** `2026-01-31T09:30:00.000000000Z text` */
function splitTime(entry: Buffer): { time: string; data: Buffer } {
  const space = entry.indexOf(0x20)
  if (space < 20 || space > 40) throw new EngineFailure('a log entry has no time', { sent: true })
  return { time: entry.toString('latin1', 0, space), data: entry.subarray(space + 1) }
}
