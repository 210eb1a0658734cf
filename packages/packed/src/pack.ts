/** A tarball that is a function of its files: the same ones are the same bytes, on any day and any machine. */
import { gzipSync } from 'node:zlib'
import { pack as tar } from 'tar-stream'

/** Any instant would do; this one is npm's own, in 1985: some tools take zero for no time at all. */
const instant = new Date('1985-10-26T08:15:00.000Z')
/** Offset of the byte of a gzip header that tells the system it was made on. */
const systemAt = 9

export async function pack(files: ReadonlyMap<string, Uint8Array>): Promise<Buffer> {
  const stream = tar()
  const sorted = [...files].sort(([one], [other]) => (one < other ? -1 : 1))
  for (const [path, body] of sorted)
    stream.entry({ name: `package/${path}`, mode: 0o644, mtime: instant, uid: 0, gid: 0 }, Buffer.from(body))
  stream.finalize()
  const zipped = gzipSync(Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>)), { level: 9 })
  // 255: unknown.
  zipped[systemAt] = 255
  return zipped
}
