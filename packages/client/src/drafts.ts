/** The folder beside a target in which what comes is made ready; one that a killed process left is taken away by the next that comes there. */
import { lstat, mkdtemp, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

export interface Draft {
  readonly folder: string
  /** What comes is unpacked here. */
  readonly come: string
  /** What had the place is moved here. */
  readonly old: string
  /** To be called before that: whose place it was. */
  displaces(path: string): Promise<void>
}

/** Whose draft it is. Strange ones and those of other machines stay. */
interface Owner {
  muster: 'draft'
  /** Machine, its start, and the namespace that the number of the process is from. */
  where: string
  pid: number
  /** When the process began, as the system counts; absent where it does not say. A number is given again. */
  began?: string
}

export async function openDraft(target: string): Promise<Draft> {
  const prefix = `.${basename(target)}-`
  const owner = await ourselves()
  await clearLeft(dirname(target), { prefix, where: owner.where })
  const folder = await mkdtemp(join(dirname(target), prefix))
  await writeFile(join(folder, 'owner'), JSON.stringify(owner))
  return {
    folder,
    come: join(folder, 'new'),
    old: join(folder, 'old'),
    displaces: (path) => writeFile(join(folder, 'place'), path),
  }
}

async function ourselves(): Promise<Owner> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '')
  const began = await beginOf(process.pid)
  const where = [hostname(), boot.trim(), namespace].join(' ')
  return { muster: 'draft', where, pid: process.pid, ...(began === undefined ? {} : { began }) }
}

/** Field 22 of proc_pid_stat(5); the name before it may hold anything. */
async function beginOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

async function clearLeft(folder: string, { prefix, where }: { prefix: string; where: string }): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(prefix)) continue
    const draft = join(folder, name)
    const owner = await ownerOf(draft)
    if (owner?.where !== where || (await isAlive(owner))) continue
    // What cannot be taken away is in nobody's way.
    await giveBack(draft)
      .then(() => rm(draft, { recursive: true, force: true }))
      .catch(() => undefined)
  }
}

async function ownerOf(draft: string): Promise<Owner | undefined> {
  try {
    // In a folder that others write in, they could put one there that says what they like.
    const { uid } = await lstat(draft)
    if (uid !== process.getuid?.()) return undefined
    const owner = JSON.parse(await readFile(join(draft, 'owner'), 'utf8')) as Partial<Owner>
    return owner.muster === 'draft' && Number.isSafeInteger(owner.pid) ? (owner as Owner) : undefined
  } catch {
    return undefined
  }
}

async function isAlive({ pid, began }: Owner): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
  return began === undefined || (await beginOf(pid)) === began
}

/** Killed between its two moves: only the draft holds what was there. */
async function giveBack(draft: string): Promise<void> {
  const place = await readFile(join(draft, 'place'), 'utf8').catch(() => undefined)
  if (place === undefined || dirname(place) !== dirname(draft) || !(await isThere(join(draft, 'old'))) || (await isThere(place)))
    return
  await rename(join(draft, 'old'), place)
}

/** Also a link that leads nowhere. */
export async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined
}
