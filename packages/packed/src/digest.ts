/** Digests of a packed plugin, as a lock has them. */
import { createHash } from 'node:crypto'

/** `sha512-…`, as in a lockfile. */
export function sha512Of(bytes: Uint8Array): string {
  return `sha512-${createHash('sha512').update(bytes).digest('base64')}`
}

/** The digest of files by path: SHA-512 over a line for each, sorted by its bytes. */
export function treeOf(files: ReadonlyMap<string, Uint8Array>): string {
  const lines = [...files].map(([path, body]) => `${sha512Of(body)} ${body.length} ${path}\n`)
  return sha512Of(Buffer.from(lines.sort(byBytes).join('')))
}

function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
