/** Writes tar archives (POSIX ustar) whose bytes depend on their content only: owners, modes and times are given. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'

export type TarEntry = {
  /** Relative, at most 100 bytes: enough for what we make, so that no extension of the format is needed. */
  path: string
  mode?: number
  uid?: number
  gid?: number
} & ({ kind: 'folder' } | { kind: 'link'; target: string } | { kind: 'file'; content: string | Buffer | { from: string } })

/** The archive as a stream; `content: { from }` is read from that file while the stream is read. */
export function tarStream(entries: readonly TarEntry[]): Readable {
  return Readable.from(blocksOf(entries), { objectMode: false })
}

const BLOCK = 512

async function* blocksOf(entries: readonly TarEntry[]): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    if (entry.kind !== 'file') {
      yield headerOf(entry, 0)
      continue
    }
    const { content } = entry
    const inline = typeof content === 'string' || Buffer.isBuffer(content) ? Buffer.from(content) : undefined
    const from = inline === undefined ? (content as { from: string }).from : ''
    const size = inline?.length ?? (await stat(from)).size
    yield headerOf(entry, size)
    if (inline === undefined) yield* createReadStream(from) as AsyncIterable<Buffer>
    else if (size > 0) yield inline
    if (size % BLOCK !== 0) yield Buffer.alloc(BLOCK - (size % BLOCK))
  }
  yield Buffer.alloc(2 * BLOCK)
}

const TYPES = { file: '0', link: '2', folder: '5' }
const DEFAULT_MODES = { file: 0o644, link: 0o777, folder: 0o755 }

/** One header block; the fields' places are those of the ustar format (IEEE Std 1003.1, "pax"). */
function headerOf(entry: TarEntry, size: number): Buffer {
  const header = Buffer.alloc(BLOCK)
  const path = entry.kind === 'folder' ? `${entry.path}/` : entry.path
  const target = entry.kind === 'link' ? entry.target : ''
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(target) > 100) throw new Error(`too long for tar: ${path}`)
  const octal = (value: number, at: number, width: number): void => {
    header.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1')
  }
  header.write(path, 0)
  octal(entry.mode ?? DEFAULT_MODES[entry.kind], 100, 8)
  octal(entry.uid ?? 0, 108, 8)
  octal(entry.gid ?? 0, 116, 8)
  octal(size, 124, 12)
  octal(0, 136, 12)
  header.fill(' ', 148, 156)
  header.write(TYPES[entry.kind], 156)
  header.write(target, 157)
  header.write('ustar\u000000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}
