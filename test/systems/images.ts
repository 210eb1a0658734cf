/** Images for tests, made on this machine without any registry: of Debian's static busybox and the running Node. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { access, realpath } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { pipeline } from 'node:stream/promises'

import { askEngine, engineProgress } from './engine.ts'
import { postgresTree } from './postgres.ts'
import { mustRun } from './process.ts'
import { tarStream, type TarEntry } from './tar.ts'

/** What can be made: name → the tag it gets. */
export const TEST_IMAGES = {
  /** A shell and its tools, users root and 1000 (`user`). Its `wget` crashes (static glibc): use `nc`. */
  busybox: 'muster-test/busybox:1',
  /** The same with Node 26. */
  node: 'muster-test/node:26',
  /** The first with iptables of this machine. */
  firewall: 'muster-test/firewall:1',
  /** The first with PostgreSQL of this machine: see postgres.ts. */
  postgres: 'muster-test/postgres:1',
} as const

export type TestImage = keyof typeof TEST_IMAGES

/** Where programs are sought in a test image. */
export const IMAGE_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The digest of an image's content stands here, so that an image that is there already is not made again. */
export const CONTENT_LABEL = 'muster-test.content'

interface Recipe {
  /** Beside busybox's. */
  more(): Promise<TarEntry[]>
  /** Instructions as of a Dockerfile. */
  changes: string[]
}

const recipes: Record<TestImage, Recipe> = {
  busybox: { more: async () => [], changes: ['CMD ["sh"]'] },
  node: { more: nodeTree, changes: ['CMD ["node"]'] },
  firewall: { more: firewallTree, changes: ['CMD ["sh"]'] },
  postgres: {
    more: () => postgresTree(librariesOf),
    changes: ['ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["postgres"]'],
  },
}

/** Of two entries of one path the later one. */
function withoutFormer(entries: readonly TarEntry[]): TarEntry[] {
  return [...new Map(entries.map((entry) => [entry.path, entry])).values()]
}

/** Makes sure that an engine has a test image, and answers its tag. Made at most once for the same content. */
export async function ensureImage(socket: string, name: TestImage): Promise<string> {
  const tag = TEST_IMAGES[name]
  const entries = withoutFormer([...(await busyboxTree()), ...(await recipes[name].more())])
  const digest = await digestOf(entries)
  if ((await contentOf(socket, tag)) === digest) return tag
  await engineProgress(socket, {
    method: 'POST',
    path: '/images/create',
    query: {
      fromSrc: '-',
      // In one: podman takes no notice of a tag beside it.
      repo: tag,
      changes: [`LABEL ${CONTENT_LABEL}=${digest}`, `ENV ${IMAGE_PATH}`, ...recipes[name].changes],
    },
    headers: { 'content-type': 'application/x-tar' },
    body: tarStream(entries),
  })
  return tag
}

/** Pushes a local tag, with the `X-Registry-Auth` value of a registry where it asks for one; answers the digest. */
export async function pushImage(socket: string, tag: string, auth = 'e30='): Promise<string> {
  const { path, version } = splitTag(tag)
  const messages = await engineProgress(socket, {
    method: 'POST',
    path: `/images/${path}/push`,
    query: { tag: version },
    headers: { 'x-registry-auth': auth },
  })
  const pushed = messages.map((message) => message['aux'] as { Digest?: string } | undefined)
  return pushed.find((aux) => aux?.Digest !== undefined)?.Digest ?? ''
}

/** Pulls a tag, with the `X-Registry-Auth` value of a registry where it asks for one. */
export async function pullImage(socket: string, tag: string, auth = 'e30='): Promise<void> {
  const { path, version } = splitTag(tag)
  await engineProgress(socket, {
    method: 'POST',
    path: '/images/create',
    query: { fromImage: path, tag: version },
    headers: { 'x-registry-auth': auth },
  })
}

/** Writes images into an archive, as a cluster imports it. */
export async function saveImages(socketPath: string, tags: readonly string[], file: string): Promise<void> {
  const search = new URLSearchParams(tags.map((tag): [string, string] => ['names', tag]))
  const asked = request({ socketPath, path: `/images/get?${search.toString()}`, agent: false }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  if (answer.statusCode !== 200) throw new Error(`cannot save ${tags.join(', ')}: ${answer.statusCode}`)
  await pipeline(answer, createWriteStream(file))
}

/** Gives an image a second name. */
export async function tagImage(socket: string, from: string, to: string): Promise<void> {
  const { path: repo, version: tag } = splitTag(to)
  const { status, body } = await askEngine(socket, { method: 'POST', path: `/images/${from}/tag`, query: { repo, tag } })
  if (status !== 201) throw new Error(`cannot tag ${from} as ${to}: ${status} ${body.toString()}`)
}

/** Removes a name of an image, and the image with its last name. An unknown one is gone already. */
export async function removeImage(socket: string, tag: string): Promise<void> {
  const { status, body } = await askEngine(socket, { method: 'DELETE', path: `/images/${tag}`, query: { force: '1' } })
  if (status !== 200 && status !== 404) throw new Error(`cannot remove ${tag}: ${status} ${body.toString()}`)
}

function splitTag(tag: string): { path: string; version: string } {
  // A colon before the last slash belongs to a registry's port.
  const colon = tag.indexOf(':', tag.lastIndexOf('/') + 1)
  return colon < 0 ? { path: tag, version: 'latest' } : { path: tag.slice(0, colon), version: tag.slice(colon + 1) }
}

async function contentOf(socket: string, tag: string): Promise<string | undefined> {
  const { status, body } = await askEngine(socket, { path: `/images/${tag}/json` })
  if (status === 404) return undefined
  const image = JSON.parse(body.toString()) as { Config?: { Labels?: Record<string, string> | null } }
  return image.Config?.Labels?.[CONTENT_LABEL]
}

/** The files of the busybox image. */
export async function busyboxTree(): Promise<TarEntry[]> {
  const binary = '/bin/busybox'
  await access(binary).catch(() => {
    throw new Error(`${binary} is missing: run test/systems/install.sh`)
  })
  const applets = (await mustRun([binary, '--list']))
    .trim()
    .split('\n')
    .filter((name) => name !== 'busybox')
  const user = { uid: 1000, gid: 1000 }
  return [
    ...['bin', 'etc', 'home', 'lib', 'lib64', 'usr', 'usr/local', 'usr/local/bin', 'usr/lib', 'var'].map(folder),
    { kind: 'folder', path: 'root', mode: 0o700 },
    { kind: 'folder', path: 'home/user', ...user },
    { kind: 'folder', path: 'tmp', mode: 0o1777 },
    { kind: 'folder', path: 'var/tmp', mode: 0o1777 },
    // One folder of programs under all its usual names, for scripts that begin with /usr/bin/env.
    { kind: 'link', path: 'sbin', target: 'bin' },
    { kind: 'link', path: 'usr/bin', target: '../bin' },
    { kind: 'link', path: 'usr/sbin', target: '../bin' },
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n'),
    text('etc/group', 'root:x:0:\nuser:x:1000:\n'),
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: { from: binary } },
    ...applets.map((name): TarEntry => ({ kind: 'link', path: `bin/${name}`, target: 'busybox' })),
  ]
}

async function nodeTree(): Promise<TarEntry[]> {
  const binary = process.execPath
  if (!process.version.startsWith('v26.')) throw new Error(`the image needs Node 26, this is ${process.version}`)
  const libraries = await librariesOf(binary)
  const authorities = '/etc/ssl/certs/ca-certificates.crt'
  const hasAuthorities = await access(authorities).then(
    () => true,
    () => false,
  )
  return [
    ...libraries,
    program('usr/local/bin/node', binary),
    ...(hasAuthorities ? [folder('etc/ssl'), folder('etc/ssl/certs'), program(authorities.slice(1), authorities)] : []),
  ]
}

/** A program's shared libraries, with their folders. */
async function librariesOf(binary: string): Promise<TarEntry[]> {
  // A line of ldd: `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, or the loader's path alone.
  const paths = [...(await mustRun(['ldd', binary])).matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] as string)
  const folders = new Set(paths.flatMap((path) => parentsOf(path.slice(1))))
  return [
    ...[...folders].filter((path) => path !== 'lib' && path !== 'lib64').map(folder),
    ...paths.map((from) => program(from.slice(1), from)),
  ]
}

async function firewallTree(): Promise<TarEntry[]> {
  const binary = await realpath('/usr/sbin/iptables')
  const libraries = await librariesOf(binary)
  const found = (await mustRun(['find', '/usr/lib', '-path', '*/xtables/*.so'])).trim().split('\n').toSorted()
  const folders = new Set(found.flatMap((path) => parentsOf(path.slice(1))))
  return [
    ...libraries,
    ...[...folders].filter((path) => path !== 'usr' && path !== 'usr/lib').map(folder),
    ...found.map((from) => program(from.slice(1), from)),
    program('bin/xtables', binary),
    ...['iptables-restore', 'ip6tables-restore'].map((name): TarEntry => ({
      kind: 'link',
      path: `bin/${name}`,
      target: 'xtables',
    })),
  ]
}

/** `a/b/c` → `a`, `a/b`. */
function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, at) => parts.slice(0, at + 1).join('/'))
}

function folder(path: string): TarEntry {
  return { kind: 'folder', path }
}

function text(path: string, content: string): TarEntry {
  return { kind: 'file', path, content }
}

function program(path: string, from: string): TarEntry {
  return { kind: 'file', path, mode: 0o755, content: { from } }
}

/** sha256 over everything that makes the archive: a changed recipe, busybox, Node or library gives a new image. */
async function digestOf(entries: readonly TarEntry[]): Promise<string> {
  const hash = createHash('sha256')
  for (const entry of entries) {
    if (entry.kind === 'file' && typeof entry.content === 'object' && 'from' in entry.content) {
      // Not the place it is read from: another checkout with the same Node makes the same image.
      hash.update(`${JSON.stringify({ ...entry, content: '' })}\n`)
      for await (const chunk of createReadStream(entry.content.from)) hash.update(chunk as Buffer)
    } else {
      hash.update(`${JSON.stringify(entry)}\n`)
    }
  }
  return hash.digest('hex')
}
