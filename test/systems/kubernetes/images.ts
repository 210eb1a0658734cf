/** The images of a cluster for tests, as one archive that containerd imports: no registry and no engine is needed. */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

import { busyboxTree, IMAGE_PATH } from '../images.ts'
import { tarStream, type TarEntry } from '../tar.ts'

/** What a new cluster has: name → tag. */
export const CLUSTER_IMAGES = {
  /** The same as on an engine. */
  busybox: 'muster-test/busybox:1',
  /** The first with `probe`: a server, a client, a look-up, a port that is tried, memory that is used, a signal that is awaited. */
  probe: 'muster-test/probe:1',
  /** The first process of each pod. */
  pause: 'muster-test/pause:1',
} as const

interface Layer {
  file: string
  /** sha256 of its bytes. */
  digest: string
}

/** Writes them into a folder, and answers the archive's path. `probe` is the path of that program. */
export async function writeImages(folder: string, probe: string): Promise<string> {
  const base = await layerOf(join(folder, 'base.tar'), await busyboxTree())
  const more = await layerOf(join(folder, 'probe.tar'), [
    { kind: 'folder', path: 'bin' },
    { kind: 'file', path: 'bin/probe', mode: 0o755, content: { from: probe } },
  ])
  const shell = { Cmd: ['sh'], Env: [IMAGE_PATH] }
  const images = [
    imageOf(CLUSTER_IMAGES.busybox, [base], shell),
    imageOf(CLUSTER_IMAGES.probe, [base, more], shell),
    imageOf(CLUSTER_IMAGES.pause, [more], { Entrypoint: ['/bin/probe', 'pause'], User: '65535:65535' }),
  ]
  const archive = join(folder, 'images.tar')
  await write(archive, [
    ...[base, more].map(({ file, digest }): TarEntry => ({ kind: 'file', path: `${digest}.tar`, content: { from: file } })),
    ...images.map(({ config, name }): TarEntry => ({ kind: 'file', path: name, content: config })),
    { kind: 'file', path: 'manifest.json', content: JSON.stringify(images.map(({ manifest }) => manifest)) },
  ])
  return archive
}

/** An image as `docker save` writes it: its configuration, and its line of the archive's manifest. */
function imageOf(tag: string, layers: readonly Layer[], config: object): { name: string; config: string; manifest: object } {
  const written = JSON.stringify({
    // The name that Go, and so the images' format, has for it.
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => `sha256:${digest}`) },
  })
  const name = `${createHash('sha256').update(written).digest('hex')}.json`
  return {
    name,
    config: written,
    manifest: { Config: name, RepoTags: [tag], Layers: layers.map(({ digest }) => `${digest}.tar`) },
  }
}

async function layerOf(file: string, entries: readonly TarEntry[]): Promise<Layer> {
  await write(file, entries)
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return { file, digest: hash.digest('hex') }
}

async function write(file: string, entries: readonly TarEntry[]): Promise<void> {
  await pipeline(tarStream(entries), createWriteStream(file))
}
