/** What a tar on its way to the disk says of its own size: one that does not fit is not begun, and one that never can is not tried again. */
import { ProviderError } from '@muster/core'
import { StoreError } from '../../store/store.ts'
import { type DiskRoom, reservedOf } from '../disk.ts'

const BLOCK = 512
/** Of the records in front of an entry; a size beyond that is one byte of many. */
const MOST_RECORDS = 65_536
const SMALL = 2 ** 20

export interface RoomFor {
  /** Of one output. */
  most: number
  /** Throws when the disk cannot be asked: that tells by itself when it is full. */
  room(): DiskRoom
}

/** As it came. Errors: `invalid-spec` beyond `most`, `unsupported` beyond the whole disk, StoreError `full` beyond what is free now. */
export async function* fitting(source: AsyncIterable<Uint8Array>, limits: RoomFor): AsyncGenerator<Uint8Array, void, undefined> {
  const sizes = sizesIn()
  for await (const chunk of source) {
    for (const { at, size } of sizes(chunk)) check(at, size, limits)
    yield chunk
  }
}

function check(at: number, size: number, { most, room }: RoomFor): void {
  if (at + size > most) throw new ProviderError('invalid-spec', `an output of more than ${most} bytes`)
  // The small ones together stop where the reserve begins, as bytes that nobody announced.
  if (size < SMALL) return
  const disk = asked(room)
  if (disk === undefined) return
  const [all, free] = [disk.total, disk.free].map((bytes) => Math.floor(bytes - reservedOf(disk))) as [number, number]
  if (at + size > all)
    throw new ProviderError(
      'unsupported',
      `it has ${at + size} bytes, and the disk of the data folder's runs takes ${all} at most`,
    )
  if (size > free)
    throw new StoreError('full', `an output of ${at + size} bytes waits for room on the disk of the data folder's runs`, {
      hint: 'Free room there, or cancel the run; Muster goes on by itself. `muster storage` shows what it has.',
    })
}

function asked(room: () => DiskRoom): DiskRoom | undefined {
  try {
    return room()
  } catch {
    return undefined
  }
}

interface Entry {
  /** Bytes of the tar in front of it. */
  at: number
  size: number
}

/** Finds the entries in the pieces of a tar; none any more after something that is no header. */
function sizesIn(): (chunk: Uint8Array) => Entry[] {
  let [at, skip, blind] = [0, 0, false]
  let held = Buffer.alloc(0)
  /** What is held is a header, or the records in front of an entry. */
  let records: number | undefined
  let told: number | undefined

  return (chunk) => {
    const found: Entry[] = []
    for (let from = 0; from < chunk.length && !blind;) {
      if (skip > 0) {
        const step = Math.min(skip, chunk.length - from)
        ;[skip, from, at] = [skip - step, from + step, at + step]
        continue
      }
      const wanted = records === undefined ? BLOCK : padded(records)
      const part = chunk.subarray(from, from + wanted - held.length)
      ;[held, from, at] = [Buffer.concat([held, part]), from + part.length, at + part.length]
      if (held.length < wanted) continue
      const [whole, length] = [held, records]
      ;[held, records] = [Buffer.alloc(0), undefined]
      if (length !== undefined) {
        told = sizeAmong(whole.toString('latin1', 0, length)) ?? told
        continue
      }
      if (whole.toString('latin1', 257, 262) !== 'ustar') {
        blind = true
        break
      }
      const type = whole.toString('latin1', 156, 157)
      const own = sizeOf(whole)
      if (type === 'x' && own > 0 && own <= MOST_RECORDS) {
        records = own
        continue
      }
      const ofEntry = !'xgLK'.includes(type)
      const size = ofEntry ? (told ?? own) : own
      if (ofEntry) told = undefined
      found.push({ at, size })
      skip = padded(size)
    }
    return found
  }
}

/** Of `LENGTH KEY=VALUE`, each behind the other: what looks like one may stand in a value. */
function sizeAmong(records: string): number | undefined {
  let size: number | undefined
  for (let at = 0; at < records.length;) {
    const length = Number.parseInt(records.slice(at, at + 8), 10)
    if (!(length > 0)) break
    const told = /^\d+ size=(\d+)\n$/.exec(records.slice(at, at + length))?.[1]
    if (told !== undefined) size = Number(told)
    at += length
  }
  return size
}

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK

/** Octal digits, or, of what these cannot hold, the number itself. */
function sizeOf(header: Buffer): number {
  if ((header[124] ?? 0) & 0x80) return Number(header.readBigUInt64BE(128))
  return Number.parseInt(header.toString('latin1', 124, 136).replace(/\0/g, ' ').trim() || '0', 8) || 0
}
