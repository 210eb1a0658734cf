/** A user for each provider that is kept in so far: the owner of its folder. */
import { chmod, chown, lchown, mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { PluginUser, UserRange } from './ground.ts'

export interface PluginUsers {
  /** Makes the provider's own folder where it is missing and gives it to its user, who can then pass to it and to the plugin's code. */
  settle(places: { own: string; root: string }): Promise<PluginUser>
}

/** `data`: the data folder, which is opened to the group of all plugins, to pass through and no more. */
export function openUsers({ range, data }: { range: UserRange; data: string }): PluginUsers {
  const given = new Map<string, number>()
  let last: Promise<unknown> = Promise.resolve()

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
    const beside = dirname(own)
    const owners = (await readdir(beside)).map(async (name) => (await stat(join(beside, name)).catch(() => undefined))?.uid)
    const taken = new Set([...(await Promise.all(owners)), ...given.values()])
    for (let uid = range.from; uid <= range.to; uid++) if (!taken.has(uid)) return uid
    throw new Error(`no user is free for it: all of ${range.from} to ${range.to} have a plugin; widen host.isolation.users`)
  }

  return {
    settle(places) {
      // One after the other: two that look at once would find the same id free.
      const mine = last.then(() => settle(places))
      last = mine.catch(() => undefined)
      return mine
    },
  }
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

/** With all that lies in it, also what an earlier plugin made as the host's user. A name that leads elsewhere is not followed. */
async function give(own: string, { uid, gid }: PluginUser): Promise<void> {
  const { uid: owner, gid: group } = await stat(own)
  if (owner === uid && group === gid) return
  for (const entry of await readdir(own, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    // A second name of a file that may lie anywhere.
    if (entry.isFile() && (await stat(path)).nlink > 1) continue
    await lchown(path, uid, gid)
  }
  await chown(own, uid, gid)
  await chmod(own, 0o700)
}
