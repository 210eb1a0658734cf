/**
 * Gives every entry of a tar stream another owner and leaves the rest as it is, whatever kinds of entries there are; or looks at them only.
 * Source: POSIX pax interchange format (ustar header, extended headers `x` and `g`), GNU tar's base-256 numbers.
 */
import { EngineFailure } from '../errors.ts'
import type { Ids } from '../engine/users.ts'

const BLOCK = 512
/** An extended header holds names and times; a longer one is no tar of anybody. */
const MAX_EXTENDED_BYTES = 1024 * 1024
/** Fields of a header block: first byte and length. */
const field = {
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  /** GNU's old sparse files only: are there more headers, and how large is the file with its holes. */
  sparseMore: [482, 1],
  sparseSize: [483, 12],
  uname: [265, 32],
  gname: [297, 32],
} as const
/** In one of GNU's headers for more holes: is there another one. */
const SPARSE_MORE_AT = 504
/** What GNU's newer sparse files tell their size with holes by (formats 0.0 and 0.1; 1.0). */
const sparseKeys = ['GNU.sparse.size', 'GNU.sparse.realsize']
/** Links, devices, folders and pipes have no content, whatever their size says. */
const contentless = '123456'

/** Is told the size of each entry before its content, holes counted: whoever unpacks it writes them as zeros. May throw. */
export type EntryWatch = (size: number) => void

/** The owner of every entry, or what becomes of its own. */
export type NewOwner = Ids | ((former: Ids) => Ids)

/** Rewrites a tar as it streams by; holds one chunk. Throws an EngineFailure for what is not a tar. */
export function reown(source: AsyncIterable<Uint8Array>, owner: NewOwner, onEntry?: EntryWatch): AsyncGenerator<Uint8Array> {
  return walk(source, { owner, onEntry })
}

/** A tar as it is, entry by entry. */
export function watched(source: AsyncIterable<Uint8Array>, onEntry: EntryWatch): AsyncGenerator<Uint8Array> {
  return walk(source, { owner: undefined, onEntry })
}

interface Walk {
  /** Absent: they keep theirs. */
  owner: NewOwner | undefined
  onEntry: EntryWatch | undefined
}

async function* walk(source: AsyncIterable<Uint8Array>, how: Walk): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  try {
    yield* rewritten(createBlocks(chunks), how)
  } finally {
    // Whoever gives them is told that no more is wanted.
    await chunks.return?.()
  }
}

async function* rewritten(input: Blocks, { owner, onEntry }: Walk): AsyncGenerator<Uint8Array> {
  /** What an extended header says is the next entry's. */
  let announced: Partial<Record<'size' | 'whole' | 'uid' | 'gid', number | undefined>> = {}
  for (;;) {
    const header = await input.take(BLOCK)
    if (header === undefined) return
    // Two blocks of zeros end a tar; what follows is padding.
    if (header.every((byte) => byte === 0)) {
      yield header
      yield* input.rest()
      return
    }
    if (!isHeader(header)) throw notTar('invalid tar header')
    const type = String.fromCharCode(header[field.type[0]] ?? 0)
    const written = readNumber(header, field.size)
    if (type === 'x' || type === 'g') {
      if (!(written <= MAX_EXTENDED_BYTES)) throw notTar('invalid tar header: an extended header is too long')
      const body = await input.must(padded(written))
      const records = recordsOf(body.subarray(0, written))
      const last = (name: string): number | undefined => records.findLast(({ key }) => key === name)?.value
      const whole = sparseKeys.map(last).find((one) => one !== undefined)
      if (type === 'x') announced = { size: last('size'), whole, uid: last('uid'), gid: last('gid') }
      if (owner === undefined) {
        yield Buffer.concat([header, body])
        continue
      }
      // An owner in here would win over the plain header.
      const kept = Buffer.concat(records.filter(({ key }) => !ownerKeys.has(key)).map(({ raw }) => raw))
      writeNumber(header, field.size, kept.length)
      yield sealed(header)
      yield Buffer.concat([kept], padded(kept.length))
      continue
    }
    const size = contentless.includes(type) ? 0 : (announced.size ?? written)
    const whole = type === 'S' ? readNumber(header, field.sparseSize) : (announced.whole ?? size)
    for (const one of [size, whole]) if (!isSize(one)) throw notTar('invalid tar header: the size of an entry')
    const { uid = readNumber(header, field.uid), gid = readNumber(header, field.gid) } = announced
    // GNU's long names are entries of their own before the one they belong to.
    if (type !== 'L' && type !== 'K') {
      announced = {}
      onEntry?.(Math.max(size, whole))
    }
    if (owner !== undefined) setOwner(header, typeof owner === 'function' ? owner({ uid, gid }) : owner)
    const more = type === 'S' && header[field.sparseMore[0]] !== 0
    yield owner === undefined ? header : sealed(header)
    if (more) yield* holes(input)
    yield* input.pass(padded(size))
  }
}

/** The headers of an old sparse file that its first one has no room for. */
async function* holes(input: Blocks): AsyncGenerator<Uint8Array> {
  for (let more = true; more;) {
    const block = await input.must(BLOCK)
    more = block[SPARSE_MORE_AT] !== 0 && block.length > 0
    yield block
  }
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

interface Blocks {
  /** Exactly `count` bytes; undefined at a clean end. */
  take(count: number): Promise<Buffer | undefined>
  must(count: number): Promise<Buffer>
  /** `count` bytes in whatever pieces they come. */
  pass(count: number): AsyncGenerator<Uint8Array>
  rest(): AsyncGenerator<Uint8Array>
}

function createBlocks(chunks: AsyncIterator<Uint8Array>): Blocks {
  let held: Buffer = Buffer.alloc(0)

  async function more(): Promise<boolean> {
    const next = await chunks.next()
    if (next.done === true) return false
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength)
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    return true
  }
  async function take(count: number): Promise<Buffer | undefined> {
    while (held.length < count) {
      if (await more()) continue
      if (held.length === 0) return undefined
      throw notTar('invalid tar: it ends in the middle')
    }
    // A copy: the caller changes it.
    const taken = Buffer.from(held.subarray(0, count))
    held = held.subarray(count)
    return taken
  }
  return {
    take,
    async must(count) {
      return (await take(count)) ?? Buffer.alloc(0)
    },
    async *pass(count) {
      for (let left = count; left > 0;) {
        if (held.length === 0 && !(await more())) throw notTar('invalid tar: it ends in the middle')
        const part = held.subarray(0, left)
        held = held.subarray(part.length)
        left -= part.length
        if (part.length > 0) yield part
      }
    },
    async *rest() {
      if (held.length > 0) yield held
      for (;;) {
        const next = await chunks.next()
        if (next.done === true) return
        yield next.value
      }
    },
  }
}

type Field = readonly [at: number, length: number]

/** A header's checksum is the sum of its bytes with spaces in its own place; some old tars summed signed bytes. */
function isHeader(header: Buffer): boolean {
  const wanted = readNumber(header, field.checksum)
  let [sum, signed] = [0, 0]
  for (const [index, byte] of header.entries()) {
    const inside = index >= field.checksum[0] && index < field.checksum[0] + field.checksum[1]
    sum += inside ? 0x20 : byte
    signed += inside ? 0x20 : byte > 127 ? byte - 256 : byte
  }
  return wanted === sum || wanted === signed
}

function sealed(header: Buffer): Buffer {
  const [at, length] = field.checksum
  header.fill(0x20, at, at + length)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, at, 'latin1')
  return header
}

function setOwner(header: Buffer, { uid, gid }: Ids): void {
  writeNumber(header, field.uid, uid)
  writeNumber(header, field.gid, gid)
  for (const [at, length] of [field.uname, field.gname]) header.fill(0, at, at + length)
}

/** Octal digits, or for large values base 256 with the first bit set. */
function readNumber(header: Buffer, [at, length]: Field): number {
  if (((header[at] ?? 0) & 0x80) !== 0) {
    const value = header.subarray(at + 1, at + length).reduce((total, byte) => total * 256 + byte, 0)
    return Number.isSafeInteger(value) ? value : Number.NaN
  }
  const text = header.toString('latin1', at, at + length).replaceAll(/[\0 ]/g, '')
  if (!/^[0-7]*$/.test(text)) return Number.NaN
  return text === '' ? 0 : Number.parseInt(text, 8)
}

function writeNumber(header: Buffer, [at, length]: Field, value: number): void {
  const digits = value.toString(8)
  if (digits.length < length) {
    header.write(`${digits.padStart(length - 1, '0')}\0`, at, 'latin1')
    return
  }
  header.fill(0, at, at + length)
  header[at] = 0x80
  for (let index = length - 1, left = value; left > 0; index--, left = Math.floor(left / 256)) header[at + index] = left % 256
}

const ownerKeys: ReadonlySet<string> = new Set(['uid', 'gid', 'uname', 'gname'])

interface PaxRecord {
  key: string
  raw: Buffer
  /** As a number; NaN for others. */
  value: number
}

/** Records are `LENGTH KEY=VALUE\n`, the length counting itself. */
function recordsOf(body: Buffer): PaxRecord[] {
  const records: PaxRecord[] = []
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(0x20, at)
    const length = space < 0 ? Number.NaN : Number(body.toString('latin1', at, space))
    if (!Number.isInteger(length) || length <= space - at || at + length > body.length)
      throw notTar('invalid tar header: extended records')
    const raw = body.subarray(at, at + length)
    const [key = '', value = ''] = raw.toString('utf8', space - at + 1, length - 1).split('=', 2)
    records.push({ key, raw, value: Number(value) })
    at += length
  }
  return records
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK
}

function notTar(message: string): EngineFailure {
  return new EngineFailure(message, { status: 400, sent: true })
}
