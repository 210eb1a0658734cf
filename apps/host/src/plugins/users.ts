/** A user for each provider that is kept in so far: the owner of its folder. */
import { constants } from 'node:fs'
import { chmod, chown, type FileHandle, mkdir, open, readdir, stat } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { openTurns } from '../turns.ts'
import type { PluginUser, UserRange } from './ground.ts'

export interface PluginUsers {
  /** Makes the provider's own folder where it is missing and gives it to its user, who can then pass to it and to the plugin's code. */
  settle(places: { own: string; root: string }): Promise<PluginUser>
  /**
   * Takes the folder back for a plugin that runs as the host's user: what that makes in it is given anew to the next user. Where another
   * process has it, as a user of its own, that comes with the end of the last of them.
   */
  unsettle(own: string): Promise<void>
  /** A process is at work in the folder, or is about to be, as a user of its own or as that of the host. Returns what tells its end. */
  entered(own: string, as: WorksAs): () => Promise<void>
}

export type WorksAs = 'its own' | 'the host'

/** Who works in one folder. */
interface AtWork {
  'its own': number
  'the host': number
  /** Both have been at work since the folder was given. */
  mixed: boolean
}

/** `data`: the data folder, which is opened to the group of all plugins, to pass through and no more. */
export function openUsers({ range, data }: { range: UserRange; data: string }): PluginUsers {
  const given = new Map<string, number>()
  const work = new Map<string, AtWork>()
  const inTurn = openTurns()

  async function settle({ own, root }: { own: string; root: string }): Promise<PluginUser> {
    await mkdir(own, { recursive: true, mode: 0o700 })
    const gid = range.from
    // A check has places of its own.
    for (const place of [own, root]) if (isInside(place, data)) await letThrough(data, gid)
    for (const folder of [dirname(own), dirname(root)])
      if (folder === dirname(root) || isInside(folder, data)) await letThrough(folder, gid)
    const uid = await userOf(own)
    given.set(own, uid)
    await give(own, { uid, gid })
    return { uid, gid }
  }

  /** Its folder remembers it: no file of ours has to. */
  async function userOf(own: string): Promise<number> {
    const isOurs = (uid: number): boolean => uid >= range.from && uid <= range.to
    const owner = given.get(own) ?? (await stat(own)).uid
    if (isOurs(owner)) return owner
    // A check has its folder elsewhere, and runs beside a daemon whose plugins have users.
    const taken = new Set([...given.values(), ...(await ownersIn(dirname(own))), ...(await ownersIn(join(data, 'providers')))])
    for (let uid = range.from; uid <= range.to; uid++) if (!taken.has(uid)) return uid
    throw new Error(`no user is free for it: all of ${range.from} to ${range.to} have a plugin; widen host.isolation.users`)
  }

  async function takeBack(own: string): Promise<void> {
    const now = work.get(own)
    if (now !== undefined && now['its own'] > 0) return
    if (now !== undefined) now.mixed = false
    const found = await stat(own).catch(() => undefined)
    if (process.getuid?.() === 0 && found !== undefined && found.uid >= range.from && found.uid <= range.to)
      await chown(own, 0, 0)
  }

  function entered(own: string, as: WorksAs): () => Promise<void> {
    const now = work.get(own) ?? { 'its own': 0, 'the host': 0, mixed: false }
    work.set(own, now)
    now[as] += 1
    if (now['its own'] > 0 && now['the host'] > 0) now.mixed = true
    let over = false
    return async () => {
      if (over) return
      over = true
      now[as] -= 1
      if (now.mixed && now['its own'] === 0) await inTurn(() => takeBack(own))
    }
  }

  return {
    // Two that look at once would find the same id free.
    settle: (places) => inTurn(() => settle(places)),
    unsettle: (own) => inTurn(() => takeBack(own)),
    entered,
  }
}

async function ownersIn(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => [])
  const found = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)))
  return found.flatMap((one) => one?.uid ?? [])
}

function isInside(folder: string, data: string): boolean {
  return !relative(data, folder).startsWith('..')
}

async function letThrough(folder: string, gid: number): Promise<void> {
  const { mode, uid, gid: group } = await stat(folder)
  if ((mode & 0o001) !== 0 || (group === gid && (mode & 0o010) !== 0)) return
  await chown(folder, uid, gid)
  await chmod(folder, (mode & 0o700) | 0o010)
}

/**
 * With all that lies in it, also what an earlier plugin made as the host's user. An older plugin of that user may be at work in there: nothing is
 * found by a name a second time, so that no name can be made to lead elsewhere meanwhile.
 */
async function give(own: string, user: PluginUser): Promise<void> {
  const folder = await open(own, asFolder)
  try {
    const { uid, gid } = await folder.stat()
    if (uid === user.uid && gid === user.gid) return
    await handOver(folder, user, deepest)
    await folder.chown(user.uid, user.gid)
    await folder.chmod(0o700)
  } finally {
    await folder.close()
  }
}

const asFolder = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
/** Each level holds a file open. */
const deepest = 64

async function handOver(folder: FileHandle, user: PluginUser, levels: number): Promise<void> {
  const here = `/proc/self/fd/${folder.fd}`
  for (const entry of await readdir(here, { withFileTypes: true })) {
    // Links and sockets are as good as another's: who owns the folder may replace them.
    if (!entry.isFile() && !(entry.isDirectory() && levels > 0)) continue
    const flags = entry.isDirectory() ? asFolder : constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    const found = await open(join(here, entry.name), flags).catch(() => undefined)
    if (found === undefined) continue
    try {
      if (entry.isDirectory()) await handOver(found, user, levels - 1)
      // A second name of a file that may lie anywhere.
      else if ((await found.stat()).nlink > 1) continue
      await found.chown(user.uid, user.gid)
    } finally {
      await found.close()
    }
  }
}
