/** An image registry without login that misbehaves on demand. Serves one image under any name. Source: OCI distribution spec, "Pulling". */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { askEngine } from '@muster/test/systems/engine'
import * as tar from 'tar-stream'

export interface OpenRegistry {
  /** `127.0.0.1:PORT` */
  host: string
  /** Paths asked for so far. */
  asked: string[]
  /** What happens with layers: sent, sent so many bytes a second, sent with other content, never answered. */
  layers: 'good' | { bytesPerSecond: number } | 'corrupt' | 'hang'
  /** What a manifest is answered with; undefined: the image. */
  refuse: { status: number; body: object } | undefined
  /** The image is one of a list, for that processor and no other. */
  only: string | undefined
  stop(): Promise<void>
}

/** Serves a copy of an image that an engine has. */
export async function startOpenRegistry(socket: string, image: string): Promise<OpenRegistry> {
  const { config, layers } = await saved(socket, image)
  const blobs = new Map<string, Buffer>([config, ...layers].map((blob) => [digestOf(blob), blob]))
  const entry = (blob: Buffer, mediaType: string) => ({ mediaType, size: blob.length, digest: digestOf(blob) })
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: entry(config, 'application/vnd.docker.container.image.v1+json'),
      layers: layers.map((layer) => entry(layer, 'application/vnd.docker.image.rootfs.diff.tar.gzip')),
    }),
  )
  const isLayer = (digest: string): boolean => layers.some((layer) => digestOf(layer) === digest)

  const registry: OpenRegistry = {
    host: '',
    asked: [],
    layers: 'good',
    refuse: undefined,
    only: undefined,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  async function answer(request: IncomingMessage, reply: ServerResponse): Promise<void> {
    const path = request.url ?? ''
    registry.asked.push(path)
    const [, kind, name = ''] = /\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? []
    if (kind === undefined) return void reply.end('{}')
    if (kind === 'manifests') {
      if (registry.refuse !== undefined) {
        reply.writeHead(registry.refuse.status, { 'content-type': 'application/json' })
        return void reply.end(JSON.stringify(registry.refuse.body))
      }
      const listed = registry.only !== undefined && name !== digestOf(manifest)
      const kindOf = `application/vnd.docker.distribution.manifest.${listed ? 'list.' : ''}v2+json`
      const sent = listed ? listOf(manifest, registry.only) : manifest
      reply.writeHead(200, {
        'content-type': kindOf,
        'docker-content-digest': digestOf(sent),
        'content-length': sent.length,
      })
      return void reply.end(request.method === 'HEAD' ? undefined : sent)
    }
    const blob = blobs.get(name)
    if (blob === undefined) return void reply.writeHead(404).end()
    if (registry.layers === 'hang' && isLayer(name)) return
    reply.writeHead(200, { 'content-length': blob.length, 'content-type': 'application/octet-stream' })
    if (registry.layers === 'good' || !isLayer(name)) return void reply.end(blob)
    if (registry.layers === 'corrupt') return void reply.end(Buffer.alloc(blob.length))
    const { bytesPerSecond } = registry.layers as { bytesPerSecond: number }
    for (let at = 0; at < blob.length && !reply.destroyed; at += bytesPerSecond / 20) {
      reply.write(blob.subarray(at, at + bytesPerSecond / 20))
      await delay(50)
    }
    reply.end()
  }

  const server = createServer((request, reply) => void answer(request, reply).catch(() => reply.destroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  registry.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return registry
}

function listOf(manifest: Buffer, architecture: string | undefined): Buffer {
  const mediaType = 'application/vnd.docker.distribution.manifest.v2+json'
  const platform = { os: 'linux', architecture }
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.list.v2+json',
      manifests: [{ mediaType, size: manifest.length, digest: digestOf(manifest), platform }],
    }),
  )
}

function digestOf(blob: Buffer): string {
  return `sha256:${createHash('sha256').update(blob).digest('hex')}`
}

/** Long enough to be slow, and random, so that it stays so when it is packed. */
const OWN_LAYER_BYTES = 1_000_000

function tarOf(name: string, content: Buffer): AsyncIterable<Buffer> {
  const pack = tar.pack()
  pack.entry({ name }, content)
  pack.finalize()
  return pack as AsyncIterable<Buffer>
}

/** The parts of GET /images/x/get. */
async function saved(socket: string, image: string): Promise<{ config: Buffer; layers: Buffer[] }> {
  const { body } = await askEngine(socket, { path: `/images/${image}/get` })
  const files = new Map<string, Buffer>()
  const extract = tar.extract()
  const read = (async () => {
    for await (const entry of extract)
      files.set(entry.header.name, Buffer.concat(await Array.fromAsync(entry as AsyncIterable<Buffer>)))
  })()
  extract.end(body)
  await read
  const [parts] = JSON.parse(String(files.get('manifest.json'))) as [{ Config: string; Layers: string[] }]
  const file = (name: string): Buffer => files.get(name) ?? Buffer.alloc(0)
  const config = JSON.parse(String(file(parts.Config))) as { rootfs: { diff_ids: string[] }; history?: unknown }
  // A layer that no engine has: those it has are not asked for again.
  const own = await Array.fromAsync(tarOf('own', randomBytes(OWN_LAYER_BYTES)))
  const layers = [...parts.Layers.map(file), Buffer.concat(own)]
  delete config.history
  config.rootfs.diff_ids = layers.map(digestOf)
  return { config: Buffer.from(JSON.stringify(config)), layers: layers.map((layer) => gzipSync(layer, { level: 1 })) }
}
