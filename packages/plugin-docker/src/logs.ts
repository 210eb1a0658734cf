/** A worker's output, every byte once, from a cursor on. */
import type { Readable } from 'node:stream'
import type { LogChunk, LogOptions, OutputStream } from '@muster/core'
import { type ContainerInspect, type Engine, toFailure } from './client.ts'
import { EngineFailure } from './errors.ts'
import { createFrameReader, type Frame } from './frames.ts'
import { createLogOrder } from './log-order.ts'
import { createLogPosition, type LogPosition } from './log-position.ts'
import { pause } from './waiting.ts'

/** The contract's limit for one chunk. */
const CHUNK_BYTES = 64 * 1024

/**
 * An engine sends each line by itself, some 10 µs apart: what comes while this passes is read in one go. Whoever follows waits no longer
 * than that for a line after the first. More than a stream holds (64 KiB) would not be gathered in a longer time.
 */
const GATHER_MS = 2

export interface LogSource {
  engine: Engine
  /** Path of the container, as `/containers/name`. */
  path: string
  /** Asks how the container is; undefined when it is not there any more. */
  inspect(): Promise<ContainerInspect | undefined>
  /** Was it started again? What it writes since then is none of its worker's. */
  isAgain(state: ContainerInspect['State']): boolean
  signal: AbortSignal
}

/** Reads to the end of what is there, or with `follow` to the container's end. Throws an EngineFailure. */
export async function* readLogs(source: LogSource, options: LogOptions): AsyncGenerator<LogChunk> {
  let cursor = options.cursor
  const order = createLogOrder()
  let back = false
  for (;;) {
    const before = await mustExist(source)
    // Where the engine went back, the files say what comes next.
    const until = source.isAgain(before.State) ? before.State.StartedAt : undefined
    const live: boolean = options.follow && isLive(before) && until === undefined && !back
    const position = createLogPosition(cursor, { order, live })
    const again = back
    back = (yield* readOnce(source, position, { follow: live, until })) === 'back'
    cursor = position.cursor()
    if (back || again) continue
    // What was read after the end is whole.
    if (!live) return
    // A followed stream also ends when the container vanishes, and may end before the last lines: look, then read the rest.
    const after = await mustExist(source)
    if (isLive(after) && !source.isAgain(after.State))
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

/** How a read ended: with what the engine sent, or where it went back in the log. */
type ReadEnd = 'end' | 'back'

async function* readOnce(
  source: LogSource,
  position: LogPosition,
  { follow, until }: { follow: boolean; until: string | undefined },
): AsyncGenerator<LogChunk, ReadEnd> {
  const { engine, path, signal } = source
  const end = until === undefined ? {} : { until: epochOf(until) }
  const query = { follow, stdout: true, stderr: true, timestamps: true, since: position.since, ...end }
  const reply = await engine.stream({ method: 'GET', path: `${path}/logs`, query, signal })
  const reader = createFrameReader()
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      if ((yield* chunksOf(reader.push(chunk), position)) === 'back') return 'back'
      await pause(GATHER_MS, signal)
      if ((yield* chunksOf(reader.push(takeAll(reply)), position)) === 'back') return 'back'
    }
    reader.end()
    return 'end'
  } catch (error) {
    throw toFailure(error)
  } finally {
    reply.destroy()
  }
}

/** What a stream holds now: it gives each piece as it came. */
function takeAll(stream: Readable): Buffer {
  const pieces: Buffer[] = []
  for (let piece = stream.read() as Buffer | null; piece !== null; piece = stream.read() as Buffer | null) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** Puts neighbouring entries of one stream together: a chunk for each line would cost more than the lines. */
function* chunksOf(frames: readonly Frame[], position: LogPosition): Generator<LogChunk, ReadEnd> {
  let stream: OutputStream = 'stdout'
  let held: Buffer[] = []
  let bytes = 0
  let cursor = ''
  const flush = function* (): Generator<LogChunk> {
    if (bytes > 0) yield { stream, cursor, data: held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held, bytes) }
    held = []
    bytes = 0
  }
  for (const frame of frames) {
    const { time, data } = splitTime(frame.data)
    const taken = position.take({ stream: frame.stream, time, data })
    if (taken === undefined) {
      yield* flush()
      return 'back'
    }
    const size = taken.reduce((sum, part) => sum + part.length, 0)
    if (size === 0) continue
    if (frame.stream !== stream || bytes + size > CHUNK_BYTES) yield* flush()
    stream = frame.stream
    cursor = position.cursor()
    if (size > CHUNK_BYTES) throw new EngineFailure('a log entry is longer than an engine writes', { sent: true })
    held.push(...taken)
    bytes += size
  }
  yield* flush()
  return 'end'
}

/** An engine's time as it takes one: seconds since 1970 with nanoseconds. */
function epochOf(time: string): string {
  const nanos = /\.(\d{1,9})/.exec(time)?.[1] ?? ''
  return `${Math.floor(Date.parse(time) / 1000)}.${nanos.padEnd(9, '0')}`
}

/** `2026-01-31T09:30:00.000000000Z text` */
function splitTime(entry: Buffer): { time: string; data: Buffer } {
  const space = entry.indexOf(0x20)
  if (space < 20 || space > 40) throw new EngineFailure('a log entry has no time', { sent: true })
  return { time: entry.toString('latin1', 0, space), data: entry.subarray(space + 1) }
}
