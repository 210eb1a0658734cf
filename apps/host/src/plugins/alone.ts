/** One change of a deployment's plugin files at a time, whoever makes it: two that ran at once took each other's drafts for their own. */
import { closeSync, fchmodSync, fchownSync, openSync, type Stats } from 'node:fs'
import { access, constants, lstat, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type Holder, takeLock } from '../store/lock.ts'
import { StoreError } from '../store/store.ts'
import { PluginRefusal } from './refusal.ts'
import { word } from './word.ts'

/**
 * Until it is disposed of, no other process is given the same. A lock of the kernel on a file beside the registry manifest, which whoever may
 * write that folder may open and nobody else: it goes with its process, however that ends. Errors: PluginRefusal `conflict`; where the folder
 * may not be written, that of the file system.
 */
export async function alone(registryFile: string): Promise<AsyncDisposable> {
  const file = aloneFileOf(registryFile)
  await prepare(file)
  const taken = attempt(file)
  if ('release' in taken)
    return {
      [Symbol.asyncDispose]() {
        taken.release()
        return Promise.resolve()
      },
    }
  const { holder } = taken
  throw new PluginRefusal(
    'conflict',
    `another command${who(holder)} is changing ${registryFile} and its lock right now`,
    fix(holder),
  )
}

/** The file that is locked. It stays: to remove it would let two in, of whom one has opened what another removed. */
export function aloneFileOf(registryFile: string): string {
  return join(dirname(registryFile), `.${basename(registryFile)}.writer`)
}

/**
 * Makes the file, where there is none, for those who may write the folder. Who runs this as root leaves nothing behind that the owner of the
 * folder cannot open.
 */
async function prepare(file: string): Promise<void> {
  const folder = await stat(dirname(file))
  makeFile(file, folder)
  const found = await lstat(file)
  if (!found.isFile()) throw unfit(file, 'it is no file')
  await access(file, constants.R_OK | constants.W_OK)
}

function makeFile(file: string, folder: Stats): void {
  let fd: number
  try {
    fd = openSync(file, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  try {
    fchmodSync(fd, modeIn(folder, giveTo(fd, folder)))
  } finally {
    closeSync(fd)
  }
}

/** To the owner of the folder, as far as this process may; is it of the folder's group then? */
function giveTo(fd: number, { uid, gid }: Stats): boolean {
  try {
    fchownSync(fd, process.getuid?.() === 0 ? uid : -1, gid)
    return true
  } catch {
    return false
  }
}

/** Whoever may write the folder may read and write the file. */
function modeIn({ mode }: Stats, ofGroup: boolean): number {
  // In a folder as /tmp one replaces nothing of others.
  const writers = (mode & 0o1000) === 0 ? mode & (ofGroup ? 0o022 : 0o002) : 0
  return 0o600 | writers | (writers << 1)
}

function attempt(file: string): ReturnType<typeof takeLock> {
  try {
    return takeLock(file, doing())
  } catch (error) {
    if (error instanceof StoreError && error.code === 'corrupt') throw unfit(file, error.message)
    throw error
  }
}

function unfit(file: string, why: string): PluginRefusal {
  return new PluginRefusal(
    'conflict',
    `${file}, which keeps two commands apart, cannot be locked: ${why}`,
    `run: rm -r ${word(file)}, which is nothing but that; then the command again`,
  )
}

/** The command without what it is given, which may be a secret. */
function doing(): string | undefined {
  const at = process.argv.indexOf('plugins')
  return at === -1 ? undefined : ['muster', ...process.argv.slice(at, at + 2)].join(' ')
}

function who(holder: Holder | undefined): string {
  if (holder === undefined) return ''
  const { pid, host, since, doing: command } = holder
  const what = command === undefined ? '' : `${command}, `
  return ` (${what}process ${pid} on ${host}, since ${new Date(since).toISOString()})`
}

function fix(holder: Holder | undefined): string {
  const then = 'then the command again, once that has ended'
  if (holder === undefined) return `run: ps -ef, which says whether another \`muster plugins\` runs; ${then}`
  const where = holder.host === hostname() ? '' : ` on ${holder.host}`
  return `run: ps -fp ${holder.pid}${where}, which says what it is; ${then}`
}
