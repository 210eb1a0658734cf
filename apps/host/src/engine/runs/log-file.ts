/**
 * The log of one run: a file of frames, appended as output arrives and read by position. It is also the memory of how far a run was read:
 * after a restart its totals and last cursor say from where the provider has to go on, so that every byte is stored once.
 *
 * Frame: u8 stream (1 stdout, 2 stderr) · u8 cursor length · u16 mark · u32 data length · u32 position of the frame · cursor · data.
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { OutputStream } from '@muster/core'
import type { LogPiece } from '../runs-api.ts'
import { onDisk } from './on-disk.ts'

const headBytes = 12
/** Together with the position it tells a frame's start from bytes inside one. */
const mark = 0x4d75
const maxDataBytes = 65_536
/** Read at once when a file is looked through: few calls, little memory. */
const scanBytes = 1 << 20

export interface LogTotals {
  /** Position after the last whole frame. */
  end: number
  stdout: number
  stderr: number
  /** Of the last frame that has one. */
  cursor?: string
  /** Bytes behind that frame: whoever reads on from the cursor gets them again. */
  loose: Record<OutputStream, number>
}

export interface LogWriter {
  totals(): LogTotals
  /**
   * Stores a piece; resolves when the operating system has it. Longer data becomes several frames. When it rejects, the totals say how
   * many of them are stored, and the next append goes on after those. Error: StoreError, as of the next.
   */
  append(piece: { stream: OutputStream; data: Uint8Array; cursor?: string }): Promise<void>
  /** Makes it durable and closes the file. */
  close(): Promise<void>
}

/** Opens for appending; a torn last frame, left by a kill or a full disk, is cut off before the next. `changed`: after each append. */
export async function openLog(path: string, changed: () => void): Promise<LogWriter> {
  const { file, totals, size } = await onDisk(() => openAtEnd(path))
  let torn = size > totals.end

  async function put(frame: Buffer): Promise<void> {
    if (torn) await file.truncate(totals.end)
    // Until all of it is there: what comes behind a part of a frame is found by nobody.
    torn = true
    await write(file, frame)
    torn = false
  }

  return {
    totals: () => copy(totals),
    async append({ stream, data, cursor }) {
      for (let at = 0; at < data.length; at += maxDataBytes) {
        const part = data.subarray(at, at + maxDataBytes)
        // A cursor resumes after the whole piece, so only its last frame may carry it.
        const last = at + maxDataBytes >= data.length
        const frame = encode(part, { stream, cursor: last ? (cursor ?? '') : '', position: totals.end })
        await onDisk(() => put(frame))
        totals.end += frame.length
        count(totals, { stream, bytes: part.length, cursor: last ? cursor : undefined })
      }
      changed()
    },
    async close() {
      try {
        await onDisk(() => file.sync())
      } finally {
        await file.close()
      }
    },
  }
}

async function openAtEnd(path: string): Promise<{ file: FileHandle; totals: LogTotals; size: number }> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(path, 'a+', 0o600)
  try {
    const totals = await scan(file)
    return { file, totals, size: (await file.stat()).size }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function write(file: FileHandle, bytes: Buffer): Promise<void> {
  let at = 0
  while (at < bytes.length) at += (await file.write(bytes, at)).bytesWritten
}

function encode(
  data: Uint8Array,
  { stream, cursor, position }: { stream: OutputStream; cursor: string; position: number },
): Buffer {
  const text = Buffer.from(cursor)
  const frame = Buffer.allocUnsafe(headBytes + text.length + data.length)
  frame.writeUInt8(stream === 'stdout' ? 1 : 2, 0)
  frame.writeUInt8(text.length, 1)
  frame.writeUInt16BE(mark, 2)
  frame.writeUInt32BE(data.length, 4)
  frame.writeUInt32BE(position % 2 ** 32, 8)
  text.copy(frame, headBytes)
  frame.set(data, headBytes + text.length)
  return frame
}

interface Head {
  stream: OutputStream
  cursorBytes: number
  dataBytes: number
}

/** The head of the frame at `position`; undefined when none begins there. */
function decode(bytes: Buffer, position: number): Head | undefined {
  const kind = bytes.readUInt8(0)
  const dataBytes = bytes.readUInt32BE(4)
  const right = bytes.readUInt16BE(2) === mark && bytes.readUInt32BE(8) === position % 2 ** 32
  if (!right || (kind !== 1 && kind !== 2) || dataBytes === 0 || dataBytes > maxDataBytes) return undefined
  return { stream: kind === 1 ? 'stdout' : 'stderr', cursorBytes: bytes.readUInt8(1), dataBytes }
}

export const nothing: LogTotals = { end: 0, stdout: 0, stderr: 0, loose: { stdout: 0, stderr: 0 } }

function copy(totals: LogTotals): LogTotals {
  return { ...totals, loose: { ...totals.loose } }
}

function count(
  totals: LogTotals,
  { stream, bytes, cursor = '' }: { stream: OutputStream; bytes: number; cursor?: string | undefined },
): void {
  totals[stream] += bytes
  totals.loose[stream] += bytes
  if (cursor === '') return
  totals.cursor = cursor
  totals.loose = { stdout: 0, stderr: 0 }
}

/** Totals of the whole frames of a file, from those of its beginning: what is stored never changes. */
async function scan(file: FileHandle, known: LogTotals = nothing): Promise<LogTotals> {
  const totals = copy(known)
  const block = Buffer.allocUnsafe(scanBytes)
  for (;;) {
    const { bytesRead } = await file.read(block, 0, scanBytes, totals.end)
    let at = 0
    while (at + headBytes <= bytesRead) {
      const head = decode(block.subarray(at, at + headBytes), totals.end)
      if (head === undefined) return totals
      const size = headBytes + head.cursorBytes + head.dataBytes
      if (at + size > bytesRead) break
      const cursor = block.toString('utf8', at + headBytes, at + headBytes + head.cursorBytes)
      count(totals, { stream: head.stream, bytes: head.dataBytes, cursor })
      totals.end += size
      at += size
    }
    if (at === 0) return totals
  }
}

/** Totals of a log now; reads only what came after `known`. Rejects with ENOENT when it is not there. */
export async function measureLog(path: string, known?: LogTotals): Promise<LogTotals> {
  const file = await open(path, 'r')
  try {
    // One that was cut since then is looked through anew.
    const cut = (await file.stat()).size < (known?.end ?? 0)
    return await scan(file, cut ? undefined : known)
  } finally {
    await file.close()
  }
}

/** A position at which no frame begins. */
export class BadPosition extends Error {
  override readonly name = 'BadPosition'
}

/** Whole frames from `from` up to what is there when it is reached; reads only as its consumer takes. */
export async function* readFrames(path: string, from: number, until: () => number): AsyncGenerator<LogPiece> {
  const file = await open(path, 'r')
  try {
    const head = Buffer.allocUnsafe(headBytes)
    let at = from
    while (at < until()) {
      const { bytesRead } = await file.read(head, 0, headBytes, at)
      const found = bytesRead === headBytes ? decode(head, at) : undefined
      if (found === undefined) throw new BadPosition(`no piece begins at ${at}`)
      const data = Buffer.allocUnsafe(found.dataBytes)
      await file.read(data, 0, found.dataBytes, at + headBytes + found.cursorBytes)
      at += headBytes + found.cursorBytes + found.dataBytes
      yield { stream: found.stream, data, next: at }
    }
    if (at > until()) throw new BadPosition(`the log ends before ${at}`)
  } finally {
    await file.close()
  }
}
