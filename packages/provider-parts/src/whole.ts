/** Whether what a worker's tar has packed is what was there. A tar goes on where a file changes under it, and only GNU's says which one did. */
import { createHash } from 'node:crypto'
import { type Extract, extract } from 'tar-stream'

/** How much of what tar says is kept. What may have been cut off proves nothing. */
export const NOISE_CHARS = 2000

export interface PackedFile {
  name: string
  size: number
  digest: string
}

/** So many files are remembered, in some 2 MiB: of those behind them nothing is known. */
const MOST_FILES = 10_000

/** What a tar was seen to be. */
export interface Seen {
  /** Absent: its files are not looked into. */
  files?: Map<string, PackedFile>
  /** It ended before its end, as that of a program which found a file shorter than it had said. */
  isCut?: boolean
}

/** Passes a tar through, and sees what it is. */
export async function* seeing(tar: AsyncIterable<Uint8Array>, seen: Seen): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = extract()
  const read = readAll(reader, seen.files).catch(() => {
    seen.isCut = true
  })
  try {
    for await (const chunk of tar) {
      if (seen.isCut !== true && !reader.write(chunk))
        await Promise.race([new Promise<void>((resolve) => void reader.once('drain', () => resolve())), read])
      yield chunk
    }
    reader.end(undefined)
    await read
  } finally {
    reader.destroy()
  }
}

async function readAll(reader: Extract, files: Seen['files']): Promise<void> {
  for await (const entry of reader) {
    const { name, type, size } = entry.header
    if (files === undefined || type !== 'file' || files.size >= MOST_FILES) {
      entry.resume()
      continue
    }
    const hash = createHash('sha256')
    for await (const part of entry as AsyncIterable<Buffer>) hash.update(part)
    files.set(name, { name, size, digest: hash.digest('hex') })
  }
}

/** Of GNU tar, which then ends with 1, as for a file that it filled up with zeros. Any other tar ends with 1 for every error. */
const CHANGED = ': file changed as we read it'
/** Left out as ever, also with an end of 0. */
const SOCKET = ': socket ignored'

export interface Doubted {
  /** All that tar said, up to {@link NOISE_CHARS}. */
  noise: string
  files: ReadonlyMap<string, PackedFile>
  /** In which it packed. */
  folder: string
  /** Runs words in the worker; the exit code. */
  run(argv: readonly string[]): Promise<number | null | undefined>
}

/**
 * Of a tar that ended with 1: whether it said no more than that files have changed, and each of them still begins with what was packed of it, as a
 * log that grows. Then this is what it was when it was opened.
 */
export async function onlyGrew({ noise, files, folder, run }: Doubted): Promise<boolean> {
  if (noise.length >= NOISE_CHARS) return false
  const lines = noise.split('\n').filter((line) => line !== '' && !line.endsWith(SOCKET))
  const changed = lines.map((line) =>
    line.startsWith('tar: ') && line.endsWith(CHANGED) ? files.get(line.slice('tar: '.length, -CHANGED.length)) : undefined,
  )
  if (changed.length === 0 || !changed.every((one) => one !== undefined)) return false
  const words = changed.flatMap(({ name, size, digest }) => [name, String(size), digest])
  return (await run(['/bin/sh', '-c', STILL_BEGIN, 'sh', folder, ...words])) === 0
}

/** Words: a folder; of each file in it its name, a size, and the digest of so many of its first bytes. */
const STILL_BEGIN = `cd -- "$1" || exit
shift
while [ $# -gt 0 ]; do
  [ -f "./$1" ] && [ ! -h "./$1" ] && _d=$(head -c "$2" <"./$1" | sha256sum) && [ "\${_d%% *}" = "$3" ] || exit 1
  shift 3
done`

/** The line of what tar said that tells why. `closing`: those that only say that there was one before. */
export function reasonIn(noise: string, closing: RegExp): string | undefined {
  const said = noise.split('\n')
  // Its last line may have been cut off where no more was kept.
  if (noise.length >= NOISE_CHARS && said.length > 1) said.pop()
  const lines = said.filter((line) => line.trim() !== '' && !closing.test(line))
  // A file that shrank has changed as well.
  return lines.findLast((line) => !line.endsWith(CHANGED) && !line.endsWith(SOCKET)) ?? lines.at(-1)
}
