/** Item streams: each data frame is one item = u16 BE header length, header JSON, payload bytes. */
import * as z from 'zod'
import type { ExecChunk, LogChunk, OutputStream, WorkerObservation, WorkerStats } from '../provider.ts'
import { decodeJson, encodeJson } from './json.ts'
import { maxChunkBytes, maxItemHeaderBytes } from './limits.ts'
import { describeIssues } from './messages.ts'
import { workerObservationSchema, workerStatsSchema } from './worker-schemas.ts'

const outputStream: z.ZodType<OutputStream> = z.enum(['stdout', 'stderr'])

/** Longest cursor of a log chunk, in bytes: it is stored with every chunk. */
const maxCursorBytes = 200

export type LogHeader = Omit<LogChunk, 'data'>
export type ExecHeader = Omit<ExecChunk, 'data'>

export const logHeaderSchema: z.ZodType<LogHeader> = z.strictObject({
  stream: outputStream,
  cursor: z.string().refine((cursor) => Buffer.byteLength(cursor) <= maxCursorBytes, `longer than ${maxCursorBytes} bytes`),
})
export const execHeaderSchema: z.ZodType<ExecHeader> = z.strictObject({ stream: outputStream, offset: z.int().min(0) })

/** A codec of one kind of item. Both ways throw ItemFault with the fault in words. */
export interface ItemCodec<T> {
  /** One author's value: its frames' payloads. */
  encode(value: unknown): (readonly Uint8Array[])[]
  decode(frame: Buffer): T
}

/** An item that breaks the contract; the message begins with the field's path. */
export class ItemFault extends Error {
  override readonly name = 'ItemFault'
}

export function watchCodec(): ItemCodec<WorkerObservation> {
  return headCodec('an observation', workerObservationSchema)
}

export function statsCodec(): ItemCodec<WorkerStats> {
  return headCodec('a sample', workerStatsSchema)
}

/** Items that are all header. */
function headCodec<T extends object>(name: string, schema: z.ZodType<T>): ItemCodec<T> {
  return {
    encode: (value) => [[itemHead(checked(schema, value))]],
    decode(frame) {
      const { header, data } = splitItem(frame)
      if (data.length > 0) throw new ItemFault(`data: ${name} has none`)
      return checked(schema, header)
    },
  }
}

/**
 * Log chunks. A chunk over the cap is refused, not split: its cursor resumes after the whole chunk, so that a part of it
 * could be stored only at the price of being doubled or lost on resume.
 */
export function logsCodec(): ItemCodec<LogChunk> {
  return {
    encode(value) {
      const { data, ...rest } = withData(value)
      if (data.length > maxChunkBytes) throw new ItemFault(`data: ${data.length} bytes in one chunk; at most ${maxChunkBytes}`)
      return [[itemHead(checked(logHeaderSchema, rest)), data]]
    },
    decode(frame) {
      const { header, data } = splitItem(frame)
      return { ...checked(logHeaderSchema, header), data }
    },
  }
}

/** Output of a command. Larger chunks are split; each stream must go on exactly where it was, from `from`. */
export function execCodec(from: { stdout: number; stderr: number }): ItemCodec<ExecChunk> {
  const at = { ...from }
  function follow(header: ExecHeader, bytes: number): void {
    const expected = at[header.stream]
    if (header.offset !== expected)
      throw new ItemFault(`offset: ${header.stream} goes on at ${header.offset}, not at ${expected}`)
    at[header.stream] = expected + bytes
  }
  return {
    encode(value) {
      const { data, ...rest } = withData(value)
      const header = checked(execHeaderSchema, rest)
      follow(header, data.length)
      return splitBytes(data).map((part) => {
        const offset = header.offset + (part.byteOffset - data.byteOffset)
        return [itemHead({ stream: header.stream, offset }), part]
      })
    },
    decode(frame) {
      const { header, data } = splitItem(frame)
      const head = checked(execHeaderSchema, header)
      follow(head, data.length)
      return { ...head, data }
    },
  }
}

/** Pieces of at most the cap, views of the same memory; none for no bytes. */
export function splitBytes(data: Uint8Array): Uint8Array[] {
  if (data.length === 0) return []
  if (data.length <= maxChunkBytes) return [data]
  const parts: Uint8Array[] = []
  for (let at = 0; at < data.length; at += maxChunkBytes) parts.push(data.subarray(at, at + maxChunkBytes))
  return parts
}

function itemHead(header: object): Buffer {
  const json = encodeJson(header)
  const bytes = Buffer.byteLength(json)
  if (bytes > maxItemHeaderBytes) throw new ItemFault(`an item of ${bytes} bytes without its data; at most ${maxItemHeaderBytes}`)
  const head = Buffer.allocUnsafe(2 + bytes)
  head.writeUInt16BE(bytes, 0)
  head.write(json, 2)
  return head
}

function splitItem(frame: Buffer): { header: unknown; data: Buffer } {
  const bytes = frame.length < 2 ? frame.length : frame.readUInt16BE(0)
  if (frame.length < 2 + bytes || bytes > maxItemHeaderBytes) throw new ItemFault('an item shorter than its header says')
  const data = frame.subarray(2 + bytes)
  if (data.length > maxChunkBytes) throw new ItemFault(`data: ${data.length} bytes in one item; at most ${maxChunkBytes}`)
  try {
    return { header: decodeJson(frame.subarray(2, 2 + bytes)), data }
  } catch (error) {
    throw new ItemFault(`header: ${error instanceof Error ? error.message : 'unreadable'}`)
  }
}

function withData(value: unknown): Record<string, unknown> & { data: Uint8Array } {
  if (typeof value !== 'object' || value === null) throw new ItemFault('a chunk that is no object')
  const chunk = value as Record<string, unknown>
  const data = chunk['data']
  if (!(data instanceof Uint8Array)) throw new ItemFault('data: not a Uint8Array')
  return { ...chunk, data }
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new ItemFault(describeIssues(result.error).message)
}
