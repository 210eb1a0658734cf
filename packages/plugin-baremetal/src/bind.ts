/** Whether a folder of the machine can be lent to a worker. There is no mount namespace: a bind is a symbolic link. */
import { execFile } from 'node:child_process'
import { realpath } from 'node:fs/promises'
import { relative } from 'node:path'
import { promisify } from 'node:util'
import { isSystem, refused } from './errors.ts'
import { plainPath } from './tools.ts'

const run = promisify(execFile)

/** A search for files that all may write: longer than this counts as not promised. */
const SEARCH_MS = 2000

export interface BindPlace {
  index: number
  binds: readonly string[]
  /** The worker's own user; undefined: that of the host. */
  uid: number | undefined
}

/**
 * Refuses what a link cannot keep: a source that leads out of the allowed folders, one that the worker's user cannot read, a
 * writable mount that it cannot write, and a read-only mount that it could write.
 */
export async function checkBind(mount: { source: string; readOnly: boolean }, { index, binds, uid }: BindPlace): Promise<void> {
  const path = `mounts.${index}`
  const source = await realpath(mount.source).catch((error: unknown) => {
    if (!isSystem(error, 'ENOENT', 'ENOTDIR')) throw error
    throw refused('invalid-spec', `${path}.source.path`, { message: `${mount.source} is not there` })
  })
  const allowed = await Promise.all(binds.map((folder) => realpath(folder).catch(() => folder)))
  if (!allowed.some((folder) => !relative(folder, source).startsWith('..')))
    throw refused('unsupported', `${path}.source.path`, {
      message: `${mount.source} leads to ${source}, which workers may not bind`,
    })
  if (!(await may('-r', source, uid)))
    throw refused('unsupported', `${path}.source.path`, { message: `the worker’s user cannot read ${source}` })
  if (!mount.readOnly) {
    if (await may('-w', source, uid)) return
    throw refused('unsupported', `${path}.readOnly`, {
      message: `the worker’s user cannot write ${source}`,
      hint: 'Ask for a read-only mount, or let all users write there.',
    })
  }
  if (uid === undefined)
    throw refused('unsupported', `${path}.readOnly`, {
      message: 'a worker of the same user could write there: read-only cannot be kept',
    })
  if (await canWriteBelow(source))
    throw refused('unsupported', `${path}.readOnly`, { message: `all users may write below ${source}: read-only cannot be kept` })
}

/** What the kernel says to that user itself, access lists included. */
async function may(test: '-r' | '-w', path: string, uid: number | undefined): Promise<boolean> {
  const user = uid === undefined ? {} : { uid, gid: uid }
  return await run('/bin/sh', ['-c', '[ "$1" "$2" ] && { [ ! -d "$2" ] || [ -x "$2" ]; }', 'sh', test, path], {
    cwd: '/',
    env: {},
    ...user,
  }).then(
    () => true,
    () => false,
  )
}

async function canWriteBelow(path: string): Promise<boolean> {
  const words = [path, '!', '-type', 'l', '-perm', '-0002', '-print', '-quit']
  return await run('find', words, { env: { PATH: plainPath }, timeout: SEARCH_MS }).then(
    ({ stdout }) => stdout !== '',
    () => true,
  )
}
