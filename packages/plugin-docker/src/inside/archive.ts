/** Files into a container and out of it, running or not, through the engine's archive calls. */
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { ProviderError, type WorkerId } from '@muster/core'
import * as tar from 'tar-stream'
import { type ContainerInspect, type Engine, readBody, toFailure } from '../client.ts'
import { EngineFailure, isStatus } from '../errors.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { type Seen, seeing } from '@muster/provider-parts/whole'
import { type EntryWatch, reown } from './tar-owner.ts'
import { type Ids, idsOf, isNumeric } from '../engine/users.ts'
import { containerPath } from '../labels.ts'

export interface Place {
  engine: Engine
  id: WorkerId
  signal: AbortSignal
  /** Who the worker's root is on the machine: an engine that remaps users tells owners as the machine has them. */
  root?: Ids | undefined
}

/** Who the root of a worker is on the engine's machine; undefined: root. */
export function rootOf({ remapped }: EngineFacts, { HostConfig }: Pick<ContainerInspect, 'HostConfig'>): Ids | undefined {
  return HostConfig.UsernsMode === 'host' ? undefined : remapped
}

export interface PathStat {
  folder: boolean
  link: boolean
  /** May its owner write there? */
  ownerWrites: boolean
  modifiedMs: number
}

/** Go's os.FileMode: the type is in the high bits. */
const GO_DIRECTORY = 2 ** 31
const GO_SYMLINK = 2 ** 27
/** As in stat(2). */
const OWNER_WRITES = 0o200

/** What is at a path of the container; undefined when nothing is. */
export async function statPath({ engine, id, signal }: Place, path: string): Promise<PathStat | undefined> {
  try {
    const reply = await engine.stream({ method: 'HEAD', path: `${containerPath(id)}/archive`, query: { path }, signal })
    reply.resume()
    const header = String(reply.headers['x-docker-container-path-stat'] ?? '')
    const stat = JSON.parse(Buffer.from(header, 'base64').toString()) as { mode: number; mtime: string }
    const has = (bit: number): boolean => Math.floor(stat.mode / bit) % 2 === 1
    return {
      folder: has(GO_DIRECTORY),
      link: has(GO_SYMLINK),
      ownerWrites: has(OWNER_WRITES),
      modifiedMs: Date.parse(stat.mtime),
    }
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
 * folder, and no folder that of a file or a link. What came before an entry that `onEntry` refuses stays, as with any
 * other broken copy: others may have put something there too.
 */
export async function unpackInto(
  place: Place,
  path: string,
  input: { tar: AsyncIterable<Uint8Array>; owner: Ids; onEntry: EntryWatch },
): Promise<void> {
  await putEntries(
    place,
    (await missingFolders(place, path)).map((folder) => folderEntry(folder, input.owner)),
  )
  let refused: unknown
  const onEntry: EntryWatch = (size) => {
    try {
      input.onEntry(size)
    } catch (error) {
      refused = error
      throw error
    }
  }
  try {
    await put(place, { path, noOverwriteDirNonDir: true }, reown(input.tar, input.owner, onEntry))
  } catch (error) {
    throw refused === undefined ? error : toFailure(refused)
  }
}

/** The bytes of a tar of `path`, with owners as the worker has them. */
async function* packFrom({ engine, id, signal, root }: Place, path: string): AsyncGenerator<Uint8Array> {
  const reply = await engine.stream({ method: 'GET', path: `${containerPath(id)}/archive`, query: { path }, signal })
  try {
    const chunks = reply as AsyncIterable<Buffer>
    yield* root === undefined ? chunks : reown(chunks, (ids) => below(root, ids))
  } catch (error) {
    throw toFailure(error)
  } finally {
    reply.destroy()
  }
}

/** As {@link packFrom}; throws at its end when it is not whole: the engine ends it without a word where a file is shorter than was said before. */
export async function* packWhole(place: Place, path: string): AsyncGenerator<Uint8Array> {
  const seen: Seen = {}
  yield* seeing(packFrom(place, path), seen)
  if (seen.isCut === true) throw new ProviderError('transient', `cannot read ${path}: a file got shorter while it was read`)
}

/** What the machine has from that root on is the worker's. */
function below(root: Ids, { uid, gid }: Ids): Ids {
  return { uid: uid < root.uid ? uid : uid - root.uid, gid: gid < root.gid ? gid : gid - root.gid }
}

/** Whose a path of the container is; undefined when nothing is there. */
export async function holderOf(place: Place, path: string): Promise<Ids | undefined> {
  const extract = tar.extract()
  const enough = new AbortController()
  const signal = AbortSignal.any([place.signal, enough.signal])
  const source = Readable.from(packFrom({ ...place, signal }, path))
  try {
    // The first entry is the path itself: no more is read.
    source.on('error', (error) => extract.destroy(error)).pipe(extract)
    for await (const { header } of extract) return { uid: header.uid ?? 0, gid: header.gid ?? 0 }
    return undefined
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  } finally {
    // An engine that cannot send the rest holds the container: nobody could start or remove it.
    enough.abort()
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
  const over = new AbortController()
  const until = AbortSignal.any([signal, over.signal])
  try {
    await engine.json({ method: 'PUT', path: `${containerPath(id)}/archive`, query: { ...query }, upload, signal: until })
  } catch (error) {
    // Content that breaks off ends no request: the engine would wait for the rest, and hold the container for it.
    over.abort()
    throw error
  } finally {
    // An engine that refuses answers before it has read all: the rest is not wanted.
    upload.destroy()
  }
}
