/** A tar as files below a folder. What each entry becomes is decided here, one by one. */
import { lstat, mkdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { MusterError } from './errors.ts'

interface Entry {
  path: string
  type: string
  linkpath?: string | undefined
}

/** What is to be unpacked now, and what is made or told afterwards. */
interface Sorting {
  takes(entry: Entry): boolean
  /** Where each symbolic link leads, by its path below the folder. */
  links: ReadonlyMap<string, string>
  /** What is not made, with the reason, by path. */
  skipped: ReadonlyMap<string, string>
}

const files = new Set(['File', 'OldFile', 'ContiguousFile', 'Directory', 'GNUDumpDir'])
/** What the reader of tars puts in the place of bytes that are no UTF-8. */
const NOT_UTF8 = '\ufffd'
const specials = new Set(['FIFO', 'CharacterDevice', 'BlockDevice'])

/**
 * Unpacks a tar under `folder`, which is made. Symbolic links become what they were, wherever they lead, but only once all else is there:
 * nothing is written through one. Pipes, devices and names that this machine would have as others are left out, and are the result, each
 * with its reason. Entries that would leave the folder are refused. Error: `protocol` for what is no such tar.
 */
export async function unpackTo(folder: string, tar: AsyncIterable<Uint8Array>): Promise<string[]> {
  await mkdir(folder, { recursive: true })
  const { extract } = await import('tar')
  const refused = new AbortController()
  const { takes, links, skipped } = sortEntries()
  const filter = (_path: string, entry: unknown): boolean => {
    if (refused.signal.aborted) return false
    try {
      return takes(entry as Entry)
    } catch (error) {
      refused.abort(error)
      return false
    }
  }
  try {
    await pipeline(
      Readable.from(tar),
      // In step: the other way something is kept for every entry until the end, and of a tar of a job there may be millions.
      extract({ cwd: folder, sync: true, strict: true, preserveOwner: false, filter, onReadEntry: withoutPrivileges }),
      { signal: refused.signal },
    )
  } catch (error) {
    refused.signal.throwIfAborted()
    throw asProtocol(error)
  }
  // One that was the last of its tar.
  refused.signal.throwIfAborted()
  for (const [path, target] of links) await makeLink(folder, path, target)
  return [...skipped].map(([path, why]) => `${path}, ${why}`)
}

function sortEntries(): Sorting {
  const links = new Map<string, string>()
  const skipped = new Map<string, string>()

  function takes({ path: raw, type, linkpath = '' }: Entry): boolean {
    const path = placeOf(raw)
    // Two such names would be one here, and the second file would take the place of the first.
    if (path.includes(NOT_UTF8)) {
      skipped.set(path, 'whose name is not UTF-8')
      return false
    }
    if (specials.has(type)) {
      skipped.set(path, 'a pipe or a device')
      return false
    }
    if (type === 'SymbolicLink') {
      links.set(path, linkpath)
      return false
    }
    if (files.has(type)) {
      // The later entry of a name is the one that counts.
      links.delete(path)
      return true
    }
    if (type !== 'Link') throw bad(raw, `is a ${type}`)
    const first = placeOf(linkpath)
    const target = links.get(first)
    if (target === undefined) {
      const why = skipped.get(first)
      if (why !== undefined) skipped.set(path, why)
      return why === undefined
    }
    // A second name of a symbolic link.
    links.set(path, target)
    return false
  }

  return { takes, links, skipped }
}

/** The path below the folder, in one spelling. */
function placeOf(raw: string): string {
  const parts = raw.split('/').filter((part) => part !== '' && part !== '.')
  if (raw.startsWith('/') || parts.includes('..')) throw bad(raw, 'leads out of the folder')
  return parts.join('/')
}

function bad(path: string, why: string): MusterError {
  return new MusterError('protocol', `the entry ${JSON.stringify(path.slice(0, 200))} of the tar ${why}`)
}

async function makeLink(folder: string, path: string, target: string): Promise<void> {
  const [name = '', ...above] = path.split('/').reverse()
  if (name === '') throw bad('.', 'is a symbolic link')
  let parent = folder
  for (const part of above.reverse()) {
    parent = join(parent, part)
    const found = await lstat(parent).catch(() => undefined)
    if (found === undefined) await mkdir(parent)
    else if (!found.isDirectory()) throw bad(path, 'goes through what is no folder')
  }
  const at = join(parent, name)
  const there = await lstat(at).catch(() => undefined)
  if (there?.isDirectory() === true) throw bad(path, 'is a symbolic link and a folder')
  if (there !== undefined) await rm(at)
  await symlink(target, at)
}

/** Whoever unpacks owns the files: a worker must not choose what runs as that user. */
function withoutPrivileges(entry: { mode?: number | undefined }): void {
  if (entry.mode !== undefined) entry.mode &= 0o777
}

/** What the reader of tars says of the bytes; what the system or the source says stays as it is. */
function asProtocol(error: unknown): unknown {
  const { tarCode, code, message } = error as NodeJS.ErrnoException & { tarCode?: string }
  if (tarCode === undefined || (code !== undefined && /^E[A-Z0-9]+$/.test(code))) return error
  return new MusterError('protocol', `what came is no tar that can be unpacked: ${message}`, { cause: error })
}
