/**
 * Who this deployment is: the owner id that tags its workers. The data folder keeps a second note of it outside the database, with the
 * epoch last used: a database that is older than the note, or came without one, was restored or copied. Then workers made since are
 * unknown to it, and somebody must decide.
 */
import { existsSync, statSync } from 'node:fs'
import { folderOf, type Home, homeOf, isAnother, readHome, writeHome } from './home.ts'
import { newOwner } from './ids.ts'
import { type Holder, type HostLock, named, takeLock } from './lock.ts'
import { leap, type Note, noteIn, ownerPath, readNote, writeNote } from './note.ts'
import { lockPath, storePath } from './files.ts'
import { disown, distrust } from './put-back.ts'
import { type Store, StoreError } from './store.ts'

/** adopt: it is the same deployment, what it does not know are orphans · new-owner: leave all earlier workers alone */
export type Restore = 'adopt' | 'new-owner'

export interface Identity {
  owner: string
  /** Notes the epoch of the term that was taken. Call it once after {@link acquireTerm}. */
  note(epoch: number): void
}

/**
 * Errors: StoreError `restored` when the store is a restored or a copied one and `restore` does not say what to do, or says `new-owner` of one that
 * is neither; `held` when a copy is to go on for an original that is at work.
 */
export async function openIdentity(
  store: Store,
  dir: string,
  options: { restore?: Restore; now?: () => number } = {},
): Promise<Identity> {
  const restore = options.restore
  const now = options.now ?? Date.now
  const path = ownerPath(dir)
  const note = readNote(path)
  const stored = await store.read.selectFrom('meta').select('value').where('key', '=', 'owner').executeTakeFirst()
  const term = await store.read.selectFrom('term').select(['epoch', 'holder']).executeTakeFirst()
  const epoch = term?.epoch ?? 0
  const home = await readHome(store)
  const whose = stored?.value ?? note?.owner
  const others = whose === undefined ? [] : othersOf(dir, { home, note, owner: whose })
  const restored =
    others.length > 0 ||
    (stored === undefined
      ? note !== undefined
      : note === undefined
        ? epoch > 0
        : note.owner !== stored.value || note.epoch > epoch)
  // Its daemon ended in order, and none was at work since, here or where it is from: what it knows is so.
  const isLast =
    term?.holder === '' &&
    note?.owner === stored?.value &&
    [note, ...others].every((one) => one !== undefined && one.epoch > 0 && one.epoch <= epoch)
  if (restored && restore === undefined) throw undecided(dir, others, note?.owner === stored?.value ? note?.heir : undefined)
  if (restore === 'adopt') layToRest(others, homeOf(dir))
  const isSaidAgain = home?.renewed === true && home.path === homeOf(dir)
  if (!restored && restore === 'new-owner' && stored !== undefined && !isSaidAgain)
    throw new StoreError(
      'restored',
      'nothing shows that the store was restored or copied: --new-owner would leave its own workers alone for ever',
      {
        hint: 'Start without it. If this data folder is a copy of one of another machine, remove owner.json from it first.',
      },
    )

  const keep = stored?.value ?? (restore === 'adopt' ? note?.owner : undefined)
  const owner = keep === undefined || (restored && restore === 'new-owner') ? newOwner() : keep
  const floor = Math.max(epoch, note?.epoch ?? 0, ...others.map((other) => other.epoch))
  if (owner !== stored?.value || floor > epoch || restored)
    await store.write(async (tx) => {
      await tx
        .insertInto('meta')
        .values({ key: 'owner', value: owner })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: owner }))
        .execute()
      // Epochs only grow, also past those that the lost part of the store had used.
      await tx
        .insertInto('term')
        .values({ id: 1, holder: '', epoch: floor, expires_at: 0 })
        .onConflict((conflict) => conflict.column('id').doUpdateSet({ epoch: floor }))
        .execute()
      if (stored === undefined) return
      if (owner !== stored.value) await disown(tx, now())
      else if (restored && !isLast) await distrust(tx, now())
    })
  const at = { path: homeOf(dir), ...(restore === 'new-owner' && stored !== undefined ? { renewed: true } : {}) }
  if (home?.path !== at.path || home.renewed !== at.renewed) await store.write((tx) => writeHome(tx, at))
  // Before the first term, so that a host killed right after taking it is not mistaken for a restored one.
  const noted = (used: number): void => writeNote(path, { owner, epoch: used, home: at.path, folder: folderOf(dir) })
  if (note?.owner !== owner || restored) noted(floor)
  return { owner, note: noted }
}

/** Another data folder with the same owner. */
interface Other {
  path: string
  owner: string
  epoch: number
  /** It went on in the place of this one. */
  isHeir: boolean
  /** Why nobody can tell whether it is there. */
  unseen?: string
}

/** The data folder of which this one is a copy, the copy that went on for it, and those that these name in turn, as long as they are there, or may be. */
function othersOf(
  dir: string,
  { home, note, owner }: { home: Home | undefined; note: Note | undefined; owner: string },
): Other[] {
  const found = new Map<string, Other>()
  function follow(from: Pick<Note, 'heir' | 'home'>): void {
    for (const isHeir of [true, false]) {
      const path = isHeir ? from.heir : from.home
      const looked = path === undefined ? undefined : otherAt(dir, { path, isHeir, owner })
      // A link or another mount leads to the same one, whose lock is taken once.
      if (looked === undefined || found.has(looked.id)) continue
      found.set(looked.id, looked.other)
      follow(looked.note)
    }
  }
  const own = home?.path ?? note?.home
  follow({ ...(own === undefined ? {} : { home: own }), ...(note?.heir === undefined ? {} : { heir: note.heir }) })
  return [...found.values()]
}

function otherAt(
  dir: string,
  one: Pick<Other, 'path' | 'isHeir' | 'owner'>,
): { id: string; other: Other; note: Pick<Note, 'heir' | 'home'> } | undefined {
  const { path, owner } = one
  try {
    if (!isAnother(dir, { path })) return undefined
    const { dev, ino } = statSync(path)
    const id = `${dev}:${ino}`
    const note = noteIn(path)
    if (note !== undefined) return note.owner === owner ? { id, other: { ...one, epoch: note.epoch }, note } : undefined
    // Without a note, or with one that is damaged: a daemon that is at work there has its own in memory.
    return existsSync(storePath(path)) ? { id, other: { ...one, epoch: 0 }, note: {} } : undefined
  } catch (error) {
    return { id: path, other: { ...one, epoch: 0, unseen: (error as Error).message }, note: {} }
  }
}

/** `heir`: where a copy went on; whoever went on last is told of first. */
function undecided(dir: string, others: readonly Other[], heir: string | undefined): StoreError {
  const other = others.findLast(({ isHeir }) => isHeir) ?? others[0]
  if (other === undefined && heir !== undefined && heir !== homeOf(dir))
    return new StoreError('restored', `a copy of the data folder went on in its place as ${heir}, which is not there any more`, {
      hint: 'If it was moved, or its disk is not mounted, start with --new-owner: this one then leaves all earlier workers alone. Start with --adopt only if no other daemon uses this owner (unknown workers are then removed as orphans).',
    })
  if (other === undefined)
    return new StoreError('restored', 'the store is older than its data folder, or was copied into it', {
      hint: 'Start with --adopt if no other daemon uses this owner (unknown workers are then removed as orphans), or with --new-owner to leave all earlier workers alone.',
    })
  const { path, isHeir, unseen } = other
  const what = isHeir
    ? `a copy of the data folder went on in its place as ${path}`
    : `the data folder was last at work as ${path}`
  const where = isHeir ? `${what}, which is still there` : `the data folder is a copy of ${path}, which is still there`
  return new StoreError(
    'restored',
    unseen === undefined ? where : `${what}, and whether that is still there cannot be seen: ${unseen}`,
    {
      hint: `Start with --new-owner if ${path} is to work on: this one then leaves all earlier workers alone. Start with --adopt if this one was moved, or goes on in its place (unknown workers are then removed as orphans), and remove the other.`,
    },
  )
}

/** Two daemons of one owner would each remove what the other makes: the others rest, and know who goes on; their next start asks in turn. */
function layToRest(others: readonly Other[], heir: string): void {
  const resting: { other: Other; lock: HostLock }[] = []
  try {
    for (const other of others) {
      const taken = other.unseen === undefined ? takeRest(other.path) : undefined
      if (taken === undefined) continue
      if ('holder' in taken) throw inUse(other, taken.holder)
      resting.push({ other, lock: taken })
    }
    for (const { other } of resting) leap(ownerPath(other.path), other, { heir })
  } finally {
    for (const { lock } of resting) lock.release()
  }
}

function inUse({ path, isHeir }: Other, holder: Holder | undefined): StoreError {
  const what = isHeir ? `a copy of the data folder works in its place: ${path}` : `the data folder is a copy of ${path}, which`
  return new StoreError('held', `${what}${isHeir ? ', and' : ''} is in use by ${named(holder)}`, {
    hint: 'Stop that daemon first, or start this one with --new-owner.',
  })
}

/** Undefined where nothing can be locked, as on a disk that is read only: no daemon starts there either. */
function takeRest(path: string): ReturnType<typeof takeLock> | undefined {
  try {
    return takeLock(lockPath(path))
  } catch {
    return undefined
  }
}
