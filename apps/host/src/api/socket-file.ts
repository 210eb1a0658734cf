/** The file of a listening unix socket: it appears whole, with its mode, and only it is ever changed or removed. */
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, constants, fstatSync, linkSync, lstatSync, openSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** `O_PATH` of Linux, which Node does not name: the thing itself, though it cannot be read. */
const O_PATH = 0o10_000_000

/**
 * Where a server listens before its socket gets its name. libuv removes the path that it was given when it closes, whatever stands there
 * by then: one that nobody else uses.
 */
export function pathBefore(path: string): string {
  return join(dirname(path), `.${randomBytes(4).toString('hex')}`)
}

export interface SocketFile {
  /** Is there nothing of that name? */
  isGone(): boolean
  /** Unless something else has its name by now. */
  remove(): void
}

/** Gives the socket that listens at `made` its name. Errors: `EEXIST`, of the system. */
export function nameSocket(made: string, { path, mode }: { path: string; mode: number }): SocketFile {
  try {
    setMode(made, mode)
    const { dev, ino } = lstatSync(made)
    linkSync(made, path)
    return {
      isGone: () => isGone(path),
      remove: () => {
        const found = lstatSync(path, { throwIfNoEntry: false })
        if (found?.dev === dev && found.ino === ino) rmSync(path, { force: true })
      },
    }
  } finally {
    rmSync(made, { force: true })
  }
}

/** No link is followed: whoever may write in the folder could make it lead to any file of this user. */
export function setMode(path: string, mode: number): void {
  // The umask has given it already, but where the folder has other defaults.
  if ((lstatSync(path).mode & 0o777) === mode) return
  const opened = openSync(path, O_PATH | constants.O_NOFOLLOW)
  try {
    if (!fstatSync(opened).isSocket())
      throw Object.assign(new Error(`${basename(path)} was replaced by what is no socket`), { code: 'EEXIST' })
    chmodSync(`/proc/self/fd/${opened}`, mode)
  } finally {
    closeSync(opened)
  }
}

/** A folder that cannot be looked into just now says nothing of the name. */
function isGone(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) === undefined
  } catch {
    return false
  }
}
