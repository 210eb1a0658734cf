/** Packed plugins for tests, right and wrong ones. */
import { gzipSync } from 'node:zlib'
import { type Header, pack } from 'tar-stream'
import { plainManifest } from './manifest.ts'

export type Entry = [(Partial<Header> & { name: string }) | string, string?]

export interface Packed {
  name?: string
  version?: string
  manifest?: object
  pkg?: object
  /** Beside the plugin's own. */
  more?: Entry[]
}

/** The files of a plugin that does nothing. */
export function pluginFiles({ name = '@acme/plugin', version = '1.2.3', manifest, pkg, more = [] }: Packed = {}): Entry[] {
  const own = plainManifest(name, { version, entry: 'dist/plugin.js' })
  return [
    ['package/package.json', JSON.stringify({ name, version, muster: 'muster-plugin.json', ...pkg }, null, 2)],
    ['package/muster-plugin.json', JSON.stringify({ ...own, ...manifest }, null, 2)],
    ['package/dist/plugin.js', 'export {}'],
    ...more,
  ]
}

export async function packEntries(entries: readonly Entry[]): Promise<Buffer> {
  const stream = pack()
  for (const [header, body] of entries) stream.entry(typeof header === 'string' ? { name: header } : header, body ?? '')
  stream.finalize()
  return gzipSync(Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>)))
}

export function packPlugin(packed: Packed = {}): Promise<Buffer> {
  return packEntries(pluginFiles(packed))
}
