/** What a backup is: a tar of parts, and at its end the manifest that says what they are. Reading one back, and checking it. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract, type Header } from 'tar-stream'
import { z } from 'zod'

export const FORMAT = 1 as const

/** Entries of the tar; `runs` is a folder of many. */
export const names = { database: 'muster.db', key: 'seal.key', runs: 'runs', manifest: 'manifest.json' } as const

export interface Part {
  name: string
  bytes: number
  /** Of each file's name, size and bytes, in the order of the tar. */
  sha256: string
}

export interface Manifest {
  format: typeof FORMAT
  /** Of the host that made it. */
  version: string
  at: string
  owner: string
  epoch: number
  /** The form of the database: the steps it has been through. */
  migrations: string[]
  key: boolean
  logs: boolean
  parts: Part[]
}

const manifestSchema: z.ZodType<Manifest> = z.strictObject({
  format: z.literal(FORMAT),
  version: z.string(),
  at: z.string(),
  owner: z.string(),
  epoch: z.int().min(0),
  migrations: z.array(z.string()).min(1),
  key: z.boolean(),
  logs: z.boolean(),
  parts: z.array(z.strictObject({ name: z.string(), bytes: z.int().min(0), sha256: z.string() })),
})

/** So that a digest of several files says where one ends, and what its name is. */
export function headOf(name: string, size: number): string {
  return `${name}\n${size}\n`
}

/** The file is no backup, or not the whole of one. */
class ArchiveError extends Error {
  override readonly name = 'ArchiveError'
  readonly hint: string

  constructor(message: string, hint: string = 'Take another backup.') {
    super(message)
    this.hint = hint
  }
}

/** A folder of a run, and a file in it or one folder deeper. */
const RUN_FILE = /^runs\/r[0-9a-z]{26}(?:\/(?!\.{1,2}(?:\/|$))[^/\0]+){1,2}$/
/** A manifest has three parts; more is none of ours. */
const MANIFEST_BYTES = 1_048_576

export interface ReadOptions {
  /** Unpacks into this folder; absent: reads and checks only. */
  into?: string
  onBytes?: (bytes: number) => void
}

/** Reads a whole backup and checks every byte of it. Errors: ArchiveError with a `hint`, those of the file system. After each, nothing is written any more. */
export async function readArchive(file: string, { into, onBytes }: ReadOptions = {}): Promise<Manifest> {
  const hashes = new Map<string, { hash: ReturnType<typeof createHash>; bytes: number }>()
  let text: string | undefined
  const source = createReadStream(file, { highWaterMark: 262_144 })
  if (onBytes !== undefined) source.on('data', (chunk) => onBytes(chunk.length))
  const entries = extract()

  async function take(header: Header, stream: AsyncIterable<Buffer>): Promise<void> {
    if (text !== undefined) throw new ArchiveError('the backup goes on after its end')
    if (header.name === names.manifest) {
      if ((header.size ?? 0) > MANIFEST_BYTES) throw new ArchiveError('the manifest of the backup is too large')
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk)
      text = Buffer.concat(chunks).toString()
      return
    }
    const part = partOf(header)
    const known = hashes.get(part) ?? { hash: createHash('sha256'), bytes: 0 }
    hashes.set(part, known)
    known.hash.update(headOf(header.name, header.size ?? 0))
    known.bytes += header.size ?? 0
    const sink = into === undefined ? nowhere() : await fileIn(into, header.name)
    try {
      await pipeline(
        stream,
        async function* (chunks) {
          for await (const chunk of chunks) {
            known.hash.update(chunk)
            yield chunk
          }
        },
        sink,
      )
    } finally {
      // A pipeline that fails does not wait for its file, which may be made only then: after its folder was taken away.
      if (!sink.closed) await once(sink, 'close')
    }
  }

  try {
    // A failure of the one ends the other; the loop tells it.
    pipeline(source, entries).catch(() => undefined)
    for await (const entry of entries) await take(entry.header, entry as AsyncIterable<Buffer>)
  } catch (error) {
    source.destroy()
    if (error instanceof ArchiveError || (error as NodeJS.ErrnoException).code?.startsWith('E') === true) throw error
    throw new ArchiveError(`the file is no backup, or not the whole of one: ${(error as Error).message}`)
  }
  return checked(text, hashes)
}

function checked(
  text: string | undefined,
  hashes: ReadonlyMap<string, { hash: ReturnType<typeof createHash>; bytes: number }>,
): Manifest {
  if (text === undefined)
    throw new ArchiveError(hashes.size === 0 ? 'the file is no backup' : 'the backup is not whole: its end is missing')
  const manifest = parse(text)
  const wanted = [names.database, ...(manifest.key ? [names.key] : []), ...(manifest.logs ? [names.runs] : [])]
  if (manifest.parts.map((part) => part.name).join() !== wanted.join())
    throw new ArchiveError('the manifest of the backup does not fit itself')
  for (const { name, bytes, sha256 } of manifest.parts) {
    const found = hashes.get(name)
    // Of no run at all there is no file.
    const digest = (found?.hash ?? createHash('sha256')).digest('hex')
    if ((found?.bytes ?? 0) !== bytes || digest !== sha256)
      throw new ArchiveError(`${name} in the backup is not what was written: its SHA-256 differs`)
  }
  for (const name of hashes.keys())
    if (!wanted.includes(name as (typeof wanted)[number]))
      throw new ArchiveError(`the backup has ${name}, which its manifest does not name`)
  return manifest
}

function parse(text: string): Manifest {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new ArchiveError('the manifest of the backup cannot be read')
  }
  const format = (value as { format?: unknown } | null)?.format
  if (typeof format === 'number' && format > FORMAT)
    throw new ArchiveError(
      `the backup has the form ${format}, and this Muster knows ${FORMAT}`,
      'Restore it with the version that made it.',
    )
  const parsed = manifestSchema.safeParse(value)
  if (!parsed.success) throw new ArchiveError('the manifest of the backup cannot be read')
  return parsed.data
}

function partOf({ name, type }: Header): string {
  if (type === 'file') {
    if (name === names.database || name === names.key) return name
    if (RUN_FILE.test(name)) return names.runs
  }
  throw new ArchiveError(`the file is no backup: it has ${JSON.stringify(name.slice(0, 100))}`)
}

async function fileIn(folder: string, name: string): Promise<Writable> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  // Made here: a stream that opens it itself may do so after the folder was removed.
  return (await open(path, 'wx', 0o600)).createWriteStream({ flush: true })
}

function nowhere(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() })
}
