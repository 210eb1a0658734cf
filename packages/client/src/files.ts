/** Folders as tar streams, and back. Tar and its library are loaded only when they are used. */
import { createHash } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, matchesGlob, relative, resolve } from 'node:path'
import { isThere, openDraft } from './drafts.ts'
import { MusterError } from './errors.ts'
import { unpackTo } from './unpack.ts'

export interface PackOptions {
  /** Glob patterns of paths relative to the folder (`node_modules`, `dist/**`): what matches stays here, with all below. */
  exclude?: readonly string[]
}

/**
 * The content of a folder as a tar, in one order, without owners, so that the same files give the same bytes. Reads as fast as it is
 * taken. Sockets, pipes and devices are left out.
 */
export async function* packFolder(
  folder: string,
  { exclude = [] }: PackOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const root = resolve(folder)
  if (!(await isFolder(root)))
    throw new MusterError('local', `'${folder}' is no folder that can be read`, { hint: 'Name a folder to upload.' })
  const { create } = await import('tar')
  const keep = (path: string, entry: unknown): boolean => {
    const name = relative('.', path)
    return (name === '' || !exclude.some((pattern) => matchesGlob(name, pattern))) && isSent(entry as Kind)
  }
  const names = (await readdir(root)).sort((a, b) => (a < b ? -1 : 1))
  const pack = create({ cwd: root, portable: true, filter: keep, jobs: 1 }, [...names.map((name) => `./${name}`)])
  yield* readLocal(pack as AsyncIterable<Uint8Array>)
}

/** A file or a folder with all below it as a tar of one tree called `name`. As {@link packFolder} otherwise. */
export async function* packTree(path: string, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  const root = resolve(path)
  const found = await stat(root).catch(() => undefined)
  if (found !== undefined && !found.isFile() && !found.isDirectory())
    throw new MusterError('local', `'${path}' is neither a file nor a folder`, { hint: 'Write what it gives into a file first.' })
  if (found === undefined)
    throw new MusterError('local', `'${path}' does not exist or cannot be read`, {
      hint: 'Name a file or a folder of this machine.',
    })
  const { create } = await import('tar')
  const own = basename(root)
  const pack = create(
    {
      cwd: dirname(root),
      portable: true,
      jobs: 1,
      filter: (_, entry) => isSent(entry as Kind),
      onWriteEntry: (entry) => {
        entry.path = `${name}${entry.path.slice(own.length)}`
      },
    },
    [own],
  )
  yield* readLocal(pack as AsyncIterable<Uint8Array>)
}

type Kind = { [kind in 'isFile' | 'isDirectory' | 'isSymbolicLink']?: () => boolean }

/** Sockets, pipes and devices stay here. */
function isSent(entry: Kind): boolean {
  return entry.isFile?.() === true || entry.isDirectory?.() === true || entry.isSymbolicLink?.() === true
}

/** What cannot be read here is no fault of the connection that it was read for. Error: `local`. */
async function* readLocal(pack: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pack
  } catch (error) {
    const { path, message } = error as NodeJS.ErrnoException
    throw new MusterError('local', `${path === undefined ? 'a file' : `'${path}'`} cannot be read: ${message}`, {
      hint:
        path?.includes('\ufffd') === true
          ? 'Its name is not UTF-8, and cannot be sent: rename it, or leave it out.'
          : 'Give this user the right to read it, or leave it out.',
      cause: error,
    })
  }
}

export interface SaveOptions {
  /** Default: what is at the target gives way to what comes. With false the target is refused when something is there. */
  replace?: boolean
  /** Where it is saved, once the whole tar has come. Default: the target. */
  place?: () => string
}

/**
 * Unpacks the one tree of an output's tar as `target`, as `cp -r` would name it. All or nothing: what was at `target` is moved aside once the
 * whole has arrived, and removed once that stands in its place. Links stay as they are; pipes and devices are left out, their paths are the
 * result. Error: `local` for what this machine refuses, which no other try would mend.
 */
export async function saveAs(target: string, tar: AsyncIterable<Uint8Array>, options: SaveOptions = {}): Promise<string[]> {
  try {
    return await save(resolve(target), tar, options)
  } catch (error) {
    throw asLocal(error, target)
  }
}

/** Those of the file system name a path, or a disk without room; those of a connection do not. */
function asLocal(error: unknown, target: string): unknown {
  const { code = '', path, message } = error as NodeJS.ErrnoException
  if (!/^E[A-Z0-9]+$/.test(code) || (path === undefined && !['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code))) return error
  return new MusterError('local', `it cannot be saved as '${target}': ${message}`, {
    hint: 'Name a place that this user may write, with room for it.',
    cause: error,
  })
}

async function save(
  target: string,
  tar: AsyncIterable<Uint8Array>,
  { replace = true, place = () => target }: SaveOptions,
): Promise<string[]> {
  await mkdir(dirname(target), { recursive: true })
  const { folder, come, old, displaces } = await openDraft(target)
  let clears = true
  try {
    const skipped = await unpackTo(come, tar)
    const [only, ...more] = await readdir(come)
    if (only === undefined && skipped.length > 0)
      throw new MusterError('local', 'it is a pipe or a device: there is nothing in it to copy')
    if (only === undefined || more.length > 0)
      throw new MusterError('protocol', `the output holds ${more.length === 0 ? 'nothing' : 'more than one tree'}`)
    const path = resolve(place())
    const before = await isThere(path)
    if (before && !replace) throw taken(path)
    if (before) {
      // From here on only this folder holds it, until what came stands in its place.
      clears = false
      await displaces(path)
      await rename(path, old)
    }
    await rename(join(come, only), path).catch(async (error: unknown) => {
      if (before) await rename(old, path)
      clears = true
      throw error
    })
    clears = true
    return skipped
  } finally {
    if (clears || !(await isThere(old))) await rm(folder, { recursive: true, force: true })
  }
}

function taken(path: string): MusterError {
  return new MusterError('local', `'${path}' is there already, and is left as it is`, {
    hint: 'Move it away, or name another place.',
  })
}

/** Passes bytes on, and has their SHA-256 and number at the end. */
export function measured(source: AsyncIterable<Uint8Array>): {
  bytes: AsyncIterable<Uint8Array>
  sha256(): string
  total(): number
} {
  const hash = createHash('sha256')
  let total = 0
  let digest: string | undefined
  async function* pass(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      hash.update(chunk)
      total += chunk.length
      yield chunk
    }
  }
  return { bytes: pass(), total: () => total, sha256: () => (digest ??= hash.digest('hex')) }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}
