/**
 * Files whose bytes are sealed: inputs and standard input of runs. Records of u32 length and sealed bytes; each is bound to its place,
 * so that none can be moved, dropped or repeated unseen. A finished file ends with an empty record.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Sealer } from '../../store/seal.ts'
import { openTurns } from '../../turns.ts'
import { onDisk } from './on-disk.ts'

/** Plain bytes of one record: small enough for memory, large enough that sealing costs little. */
const recordBytes = 262_144
/** Version, nonce and tag of the sealer, with room. */
const sealOverhead = 64

export interface Seal {
  sealer: Sealer
  /** What the file belongs to. */
  context: string
}

export interface Digest {
  sha256: string
  bytes: number
}

/** Stores a stream whole or not at all. Errors: what `source` throws. */
export async function writeSealed(path: string, source: AsyncIterable<Uint8Array>, { sealer, context }: Seal): Promise<Digest> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const part = `${path}.${process.pid}.${Math.trunc(performance.now() * 1000)}.part`
  const file = await open(part, 'wx', 0o600)
  const hash = createHash('sha256')
  let bytes = 0
  let index = 0
  try {
    for await (const chunk of source)
      for (let at = 0; at < chunk.length; at += recordBytes) {
        const piece = chunk.subarray(at, at + recordBytes)
        hash.update(piece)
        bytes += piece.length
        await append(file, sealer.sealBytes(piece, `${context}#${index++}`))
      }
    await append(file, sealer.sealBytes(new Uint8Array(0), `${context}#${index}`))
    await file.sync()
    await file.close()
    await rename(part, path)
  } catch (error) {
    await file.close().catch(() => undefined)
    await rm(part, { force: true })
    throw error
  }
  return { sha256: hash.digest('hex'), bytes }
}

async function append(file: FileHandle, sealed: Buffer): Promise<void> {
  const head = Buffer.allocUnsafe(4)
  head.writeUInt32BE(sealed.length)
  const bytes = Buffer.concat([head, sealed])
  let at = 0
  while (at < bytes.length) at += (await file.write(bytes, at)).bytesWritten
}

/** The plain bytes of a finished file. Throws SealError when it was changed or cut. */
export async function* readSealed(path: string, { sealer, context }: Seal): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r')
  try {
    let at = 0
    for (let index = 0; ; index++) {
      const record = await readRecord(file, at)
      if (record === undefined) throw new Error(`the sealed file ${path} is cut off`)
      at += 4 + record.length
      const plain = sealer.openBytes(record, `${context}#${index}`)
      if (plain.length === 0) return
      yield plain
    }
  } finally {
    await file.close()
  }
}

async function readRecord(file: FileHandle, at: number): Promise<Buffer | undefined> {
  const head = Buffer.allocUnsafe(4)
  if ((await file.read(head, 0, 4, at)).bytesRead < 4) return undefined
  const length = head.readUInt32BE(0)
  if (length > recordBytes * 4 + sealOverhead) return undefined
  const body = Buffer.allocUnsafe(length)
  return (await file.read(body, 0, length, at + 4)).bytesRead < length ? undefined : body
}

/** What may wait for the reader: much for a command's input, little for a disk. */
const aheadBytes = 16 << 20

/** A spool that grows while it is read: standard input. Everything appended is on disk before `append` resolves. */
export interface Spool {
  state(): { offset: number; ended: boolean }
  /** Resolves once the reader is less than 16 MiB behind, or the spool is closed: who writes waits for who reads. */
  room(signal?: AbortSignal): Promise<void>
  readonly closed: boolean
  /** Runs one piece of work at a time, in the order asked for. */
  exclusive<T>(work: () => Promise<T>): Promise<T>
  /** Empty data only ends it. */
  append(data: Uint8Array, end: boolean): Promise<void>
  /** From the first byte; waits for more until the end. */
  read(signal: AbortSignal): AsyncGenerator<Uint8Array>
  close(): Promise<void>
}

/** Opens or goes on with a spool; a torn last record, left by a kill or a full disk, is cut off. Errors: StoreError of the disk, SealError. */
export async function openSpool(path: string, { sealer, context }: Seal): Promise<Spool> {
  const file = await onDisk(async () => {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    return open(path, 'a+', 0o600)
  })
  const records: { at: number }[] = []
  let end = 0
  let offset = 0
  let ended = false
  for (let record = await readRecord(file, end); record !== undefined && !ended; record = await readRecord(file, end)) {
    const plain = sealer.openBytes(record, `${context}#${records.length}`)
    records.push({ at: end })
    end += 4 + record.length
    offset += plain.length
    ended = plain.length === 0
  }
  let torn = (await file.stat()).size > end
  let grown = Promise.withResolvers<void>()
  const inTurn = openTurns()
  let taken = 0
  let took = Promise.withResolvers<void>()
  let closed = false

  async function put(data: Uint8Array): Promise<void> {
    const sealed = sealer.sealBytes(data, `${context}#${records.length}`)
    if (torn) await file.truncate(end)
    // Until all of it is there: what comes behind a part of a record is found by nobody.
    torn = true
    await append(file, sealed)
    torn = false
    records.push({ at: end })
    end += 4 + sealed.length
    offset += data.length
  }

  return {
    state: () => ({ offset, ended }),
    get closed() {
      return closed
    },
    async room(signal) {
      const stopped = new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }))
      while (offset - taken >= aheadBytes && !closed) {
        await Promise.race([took.promise, stopped])
        signal?.throwIfAborted()
      }
    },
    exclusive: inTurn,
    async append(data, ends) {
      await onDisk(async () => {
        for (let at = 0; at < data.length; at += recordBytes) await put(data.subarray(at, at + recordBytes))
        if (ends) {
          await put(new Uint8Array(0))
          ended = true
        }
        await file.datasync()
      })
      grown.resolve()
      grown = Promise.withResolvers<void>()
    },
    async *read(signal) {
      const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      let given = 0
      for (let index = 0; !signal.aborted; index++) {
        while (index >= records.length && !signal.aborted) await Promise.race([grown.promise, stopped])
        const record = records[index]
        if (signal.aborted || record === undefined) return
        const sealed = await readRecord(file, record.at)
        if (sealed === undefined) throw new Error(`the spool ${path} is cut off`)
        const plain = sealer.openBytes(sealed, `${context}#${index}`)
        if (plain.length === 0) return
        yield plain
        given += plain.length
        // A later reader begins anew; how far the first has come is what counts.
        taken = Math.max(taken, given)
        took.resolve()
        took = Promise.withResolvers<void>()
      }
    },
    close() {
      closed = true
      took.resolve()
      // After what is being written: a file is not closed under a writer.
      return inTurn(() => file.close())
    },
  }
}
