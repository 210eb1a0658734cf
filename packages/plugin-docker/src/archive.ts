/** Files into a container and out of it, running or not, through the engine's archive calls. */
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import type { WorkerId } from '@muster/core'
import * as tar from 'tar-stream'
import { type ContainerInspect, type Engine, readBody, toFailure } from './client.ts'
import { containerPath } from './containers.ts'
import { EngineFailure, isStatus } from './errors.ts'
import { reown } from './tar-owner.ts'
import { type Ids, idsOf, isNumeric } from './users.ts'

export interface Place {
  engine: Engine
  id: WorkerId
  signal: AbortSignal
}

export interface PathStat {
  folder: boolean
  link: boolean
  modifiedMs: number
}

/** Go's os.FileMode: the type is in the high bits. */
const GO_DIRECTORY = 2 ** 31
const GO_SYMLINK = 2 ** 27

/** What is at a path of the container; undefined when nothing is. */
export async function statPath({ engine, id, signal }: Place, path: string): Promise<PathStat | undefined> {
  try {
    const reply = await engine.stream({ method: 'HEAD', path: `${containerPath(id)}/archive`, query: { path }, signal })
    reply.resume()
    const header = String(reply.headers['x-docker-container-path-stat'] ?? '')
    const stat = JSON.parse(Buffer.from(header, 'base64').toString()) as { mode: number; mtime: string }
    const has = (bit: number): boolean => Math.floor(stat.mode / bit) % 2 === 1
    return { folder: has(GO_DIRECTORY), link: has(GO_SYMLINK), modifiedMs: Date.parse(stat.mtime) }
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  }
}

/** An entry of a small tar that is made here. */
export interface SmallEntry {
  /** Absolute, or relative to where the tar is unpacked. */
  path: string
  mode: number
  owner: Ids
  /** Absent: a folder. One that is there already gets this owner and mode too. */
  content?: Buffer
}

/** Puts entries into the container, all in one go: an engine starts a process of its own for each tar, which takes some 60 ms. */
export async function putEntries(place: Place, entries: readonly SmallEntry[], folder: string = '/'): Promise<void> {
  if (entries.length === 0) return
  const pack = tar.pack()
  for (const { path, mode, owner, content } of entries) {
    const header = { name: path.replace(/^\/+/, ''), mode, ...owner, mtime: new Date() }
    if (content === undefined) pack.entry({ ...header, type: 'directory' })
    else pack.entry(header, content)
  }
  pack.finalize()
  await put(place, { path: folder }, pack as AsyncIterable<Uint8Array>)
}

/** Folders missing down to an absolute path, the outer ones first. */
export async function missingFolders(place: Place, path: string): Promise<string[]> {
  const missing: string[] = []
  for (let at = path; at !== '/' && (await statPath(place, at)) === undefined; at = posix.dirname(at)) missing.unshift(at)
  return missing
}

/** A folder as an entry, with the rights that any program gives a new one. */
export function folderEntry(path: string, owner: Ids): SmallEntry {
  return { path, mode: 0o755, owner }
}

/**
 * Unpacks a tar below `path`, which is made when it is missing. All of it belongs to `owner`, whoever packed it. No file takes the place of a
 * folder, and no folder that of a file or a link.
 */
export async function unpackInto(
  place: Place,
  path: string,
  input: { tar: AsyncIterable<Uint8Array>; owner: Ids },
): Promise<void> {
  await putEntries(
    place,
    (await missingFolders(place, path)).map((folder) => folderEntry(folder, input.owner)),
  )
  await put(place, { path, noOverwriteDirNonDir: true }, reown(input.tar, input.owner))
}

/** The bytes of a tar of `path`. */
export async function* packFrom({ engine, id, signal }: Place, path: string): AsyncGenerator<Uint8Array> {
  const reply = await engine.stream({ method: 'GET', path: `${containerPath(id)}/archive`, query: { path }, signal })
  try {
    for await (const chunk of reply) yield chunk as Buffer
  } catch (error) {
    throw toFailure(error)
  } finally {
    reply.destroy()
  }
}

/** Whose a path of the container is; undefined when nothing is there. */
export async function holderOf(place: Place, path: string): Promise<Ids | undefined> {
  const extract = tar.extract()
  const source = Readable.from(packFrom(place, path))
  try {
    // The first entry is the path itself: no more is read.
    source.on('error', (error) => extract.destroy(error)).pipe(extract)
    for await (const { header } of extract) return { uid: header.uid ?? 0, gid: header.gid ?? 0 }
    return undefined
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  } finally {
    source.destroy()
    extract.destroy()
  }
}

/** User and group of the container's processes, in numbers. */
export async function ownerOf(place: Place, container: ContainerInspect): Promise<Ids> {
  const user = container.Config.User
  const files = isNumeric(user)
    ? { passwd: '', group: '' }
    : { passwd: await readSmall(place, '/etc/passwd'), group: user.includes(':') ? await readSmall(place, '/etc/group') : '' }
  const ids = idsOf(user, files)
  if (ids === undefined)
    throw new EngineFailure(`unable to find user ${user}: no matching entries in passwd file`, { status: 400, sent: true })
  return ids
}

/** A passwd file has a few hundred lines at most. */
const MAX_SMALL_BYTES = 4 * 1024 * 1024

async function readSmall(place: Place, path: string): Promise<string> {
  let text = ''
  try {
    const bytes = await readBody(Readable.from(packFrom(place, path)), MAX_SMALL_BYTES)
    const extract = tar.extract()
    const read = (async () => {
      for await (const entry of extract) text += Buffer.concat(await Array.fromAsync(entry as AsyncIterable<Buffer>)).toString()
    })()
    extract.end(bytes)
    await read
  } catch (error) {
    if (!isStatus(error, 404)) throw error
  }
  return text
}

interface Putting {
  path: string
  noOverwriteDirNonDir?: true
}

async function put({ engine, id, signal }: Place, query: Putting, content: AsyncIterable<Uint8Array>): Promise<void> {
  const upload = Readable.from(content, { objectMode: false, highWaterMark: 256 * 1024 })
  try {
    await engine.json({ method: 'PUT', path: `${containerPath(id)}/archive`, query: { ...query }, upload, signal })
  } finally {
    // An engine that refuses answers before it has read all: the rest is not wanted.
    upload.destroy()
  }
}
