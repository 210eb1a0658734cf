/**
 * The users of workers under root: one uid each, handed out durably and for the whole machine, without an entry in `/etc/passwd`.
 *
 * The ledger is a folder. `LEDGER/UID/ID.DRAFT -> ROOT` says that worker ID, whose folder is in ROOT, has UID. A uid is taken by renaming
 * a prepared folder to `LEDGER/UID`: Linux lets that replace an empty folder, never a full one, so that one of many takers wins without
 * any lock. A uid is given back by removing the entry, whose name no other one ever has, so that nobody can give back another's. An
 * entry whose worker is nowhere any more is removed by whoever next wants that uid.
 */
import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ProviderError, type WorkerId } from '@muster/core'
import { isSystem } from './errors.ts'
import { makeFolder, syncFolder } from './files.ts'
import { draftName, type Identity, isDraftOfLiving, kinOf } from './proc.ts'

/** One for the machine: two deployments must not hand out the same uid. */
export const defaultLedger = '/var/lib/muster/users'

export interface User {
  /** The gid is the same number. */
  uid: number
  /** Path of the ledger's entry: removed when nothing of the worker is left. */
  entry: string
}

export interface Users {
  /** A uid that no living worker has. None left: `capacity`. */
  take(id: WorkerId): Promise<User>
  /** Gives back what was taken for a worker that is nowhere. */
  forget(id: WorkerId): Promise<void>
  count(): Promise<{ free: number; total: number }>
}

export interface UsersOptions {
  range: { from: number; to: number }
  ledger: string
  /** The folder of this provider's workers. */
  root: string
  /** This process. */
  self: Identity
}

export async function openUsers({ range, ledger, root, self }: UsersOptions): Promise<Users> {
  // What stands above it may have to be passed on the way to workers.
  await makeFolder(dirname(ledger), 0o711)
  await makeFolder(ledger, 0o700)
  const accounts = await accountIds()
  const size = range.to - range.from + 1
  await sweep(ledger, self.boot)

  async function claim(id: WorkerId, uid: number): Promise<User | undefined> {
    const draft = draftName(self)
    const prepared = join(ledger, `.new.${draft}`)
    const name = `${id}.${draft}`
    await mkdir(prepared, { mode: 0o700 })
    try {
      await symlink(root, join(prepared, name))
      await rename(prepared, join(ledger, String(uid)))
      await syncFolder(ledger)
      return { uid, entry: join(ledger, String(uid), name) }
    } catch (error) {
      await rm(prepared, { recursive: true, force: true })
      if (isSystem(error, 'ENOTEMPTY', 'EEXIST')) return undefined
      throw error
    }
  }

  return {
    async take(id) {
      // Neighbours in time start far apart, so that takers seldom meet.
      const first = createHash('sha256').update(id).digest().readUInt32BE(0) % size
      for (let step = 0; step < size; step++) {
        const uid = range.from + ((first + step) % size)
        if (accounts.has(uid)) continue
        if (await isFull(ledger, uid)) await tidy(ledger, uid)
        const user = (await isFull(ledger, uid)) ? undefined : await claim(id, uid)
        if (user !== undefined) return user
      }
      throw new ProviderError('capacity', 'every user id of the range belongs to a worker', {
        effect: 'none',
        hint: 'Terminate workers, or widen `users` in the provider’s config.',
      })
    },

    async forget(id) {
      for (const uid of (await readdir(ledger)).filter((name) => /^\d+$/.test(name)).map(Number))
        if ((await entriesOf(ledger, uid)).some((name) => name.startsWith(`${id}.`))) await tidy(ledger, uid)
    },

    async count() {
      const taken = (await readdir(ledger)).map(Number).filter((uid) => uid >= range.from && uid <= range.to)
      const total = size - [...accounts].filter((uid) => uid >= range.from && uid <= range.to).length
      return { free: Math.max(0, total - taken.length), total }
    },
  }
}

/** Gives a uid back. Idempotent. */
export async function giveBack({ entry }: User): Promise<void> {
  await unlink(entry).catch(ignoreMissing)
  await rmdir(dirname(entry)).catch(() => undefined)
}

async function isFull(ledger: string, uid: number): Promise<boolean> {
  return (await entriesOf(ledger, uid)).length > 0
}

async function entriesOf(ledger: string, uid: number): Promise<string[]> {
  return await readdir(join(ledger, String(uid))).catch((error: unknown) => ignoreMissing(error) ?? [])
}

/** Removes entries whose worker is nowhere any more and whose user runs nothing. */
async function tidy(ledger: string, uid: number): Promise<void> {
  for (const name of await entriesOf(ledger, uid)) {
    const entry = join(ledger, String(uid), name)
    const root = await readlink(entry).catch(ignoreMissing)
    if (root === undefined || (await hasWorker(root, name.split('.')[0] ?? '')) || (await kinOf({ uid })).length > 0) continue
    await giveBack({ uid, entry })
  }
}

/** A worker is prepared in one folder and then moved to the other: looked for in that order it is never missed. */
async function hasWorker(root: string, id: string): Promise<boolean> {
  const prepared = await readdir(join(root, 'making')).catch((error: unknown) => ignoreMissing(error) ?? [])
  if (prepared.some((name) => name.startsWith(`${id}.`))) return true
  return (await lstat(join(root, 'workers', id)).catch(ignoreMissing)) !== undefined
}

async function sweep(ledger: string, boot: string): Promise<void> {
  for (const name of await readdir(ledger)) {
    if (/^\d+$/.test(name)) await tidy(ledger, Number(name))
    else if (!(await isDraftOfLiving(name, boot))) await rm(join(ledger, name), { recursive: true, force: true })
  }
}

/** Ids of accounts in `/etc/passwd`: never handed out, whatever the range says. */
async function accountIds(): Promise<Set<number>> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '')
  return new Set(text.split('\n').map((line) => Number(line.split(':')[2] ?? Number.NaN)))
}

function ignoreMissing(error: unknown): undefined {
  if (!isSystem(error, 'ENOENT', 'ENOTDIR')) throw error
}
