/** The PATH of workers, and programs that their users could not reach otherwise. */
import { chmod, copyFile, link, mkdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { closedTo, findCommand } from './files.ts'

/** Where Debian and Red Hat keep programs. */
export const plainPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface ToolsOptions {
  /** What a user would find at the host's own prompt. */
  path: string
  /** The program of this process: there is always a node. */
  node: string
  /** Do workers run as other users? */
  isolated: boolean
  /** A folder that those users can reach. */
  folder: string
}

/**
 * The PATH that workers get: that of the host, then the folder of the host's own node.
 *
 * Other users cannot pass a closed folder, as `/root` is: such entries are left out, and when the `node` of the host lies in one, it is
 * offered in `folder` (a hard link, or a copy on another file system) before all others, so that a job finds the node its author sees.
 */
export async function workerPath({ path, node, isolated, folder }: ToolsOptions): Promise<string> {
  const entries = path.split(':').filter((entry) => entry.startsWith('/'))
  if (!isolated) return [...entries, dirname(node)].join(':')
  const open: string[] = []
  for (const entry of entries) {
    if (await isOpen(entry)) open.push(entry)
  }
  const found = await realpath((await findCommand('node', path)) ?? node)
  if (await isOpen(found)) return [...open, dirname(found)].join(':')
  await offer(found, folder)
  return [folder, ...open].join(':')
}

async function isOpen(path: string): Promise<boolean> {
  try {
    return (await closedTo(await realpath(path))) === undefined
  } catch {
    return false
  }
}

async function offer(program: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 })
  const place = join(folder, 'node')
  const [wanted, there] = await Promise.all([stat(program), stat(place).catch(() => undefined)])
  if (there !== undefined && there.size === wanted.size && (there.ino === wanted.ino || there.mtimeMs >= wanted.mtimeMs)) return
  const draft = `${place}.${process.pid}`
  await rm(draft, { force: true })
  // A hard link keeps the file's own mode: only one that all may run will do.
  const shared = (wanted.mode & 0o005) === 0o005
  const linked =
    shared &&
    (await link(program, draft).then(
      () => true,
      () => false,
    ))
  if (!linked) {
    await copyFile(program, draft)
    await chmod(draft, 0o755)
  }
  await rename(draft, place)
}
