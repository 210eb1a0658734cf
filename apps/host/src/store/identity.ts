/**
 * Who this deployment is: the owner id that tags its workers. The data folder keeps a second note of it outside the database, with the
 * epoch last used: a database that is older than the note, or came without one, was restored or copied. Then workers made since are
 * unknown to it, and somebody must decide.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type Home, homeOf, isAnother, readHome, writeHome } from './home.ts'
import { newOwner } from './ids.ts'
import { named, takeLock } from './lock.ts'
import { lockPath } from './open.ts'
import { syncDirectory } from './seal.ts'
import { type Store, StoreError, type Tx } from './store.ts'

/** adopt: it is the same deployment, what it does not know are orphans · new-owner: leave all earlier workers alone */
export type Restore = 'adopt' | 'new-owner'

export interface Identity {
  owner: string
  /** Notes the epoch of the term that was taken. Call it once after {@link acquireTerm}. */
  note(epoch: number): void
}

const noteSchema = z.object({ owner: z.string(), epoch: z.int() })

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
  const term = await store.read.selectFrom('term').select('epoch').executeTakeFirst()
  const epoch = term?.epoch ?? 0
  const home = await readHome(store)
  const original = stored === undefined ? undefined : originalOf(dir, { home, owner: stored.value })
  const restored =
    original !== undefined ||
    (stored === undefined
      ? note !== undefined
      : note === undefined
        ? epoch > 0
        : note.owner !== stored.value || note.epoch > epoch)
  if (restored && restore === undefined) throw undecided(original)
  if (original !== undefined && restore === 'adopt') layToRest(original)
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
  const floor = Math.max(epoch, note?.epoch ?? 0, original?.epoch ?? 0)
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
      else if (restored) await distrust(tx, now())
    })
  const at = { path: homeOf(dir), ...(restore === 'new-owner' && stored !== undefined ? { renewed: true } : {}) }
  if (home?.path !== at.path || home.renewed !== at.renewed) await store.write((tx) => writeHome(tx, at))
  // Before the first term, so that a host killed right after taking it is not mistaken for a restored one.
  if (note?.owner !== owner || restored) writeNote(path, { owner, epoch: floor })
  return { owner, note: (used) => writeNote(path, { owner, epoch: used }) }
}

interface Original {
  path: string
  owner: string
  epoch: number
  /** Why nobody can tell whether it is there. */
  unseen?: string
}

/** The data folder of which this one is a copy, as long as it is there, or may be. */
function originalOf(dir: string, { home, owner }: { home: Home | undefined; owner: string }): Original | undefined {
  if (home === undefined) return undefined
  const { path } = home
  try {
    const note = isAnother(dir, home) ? readNote(ownerPath(path)) : undefined
    return note?.owner === owner ? { path, ...note } : undefined
  } catch (error) {
    // With a note that is damaged nothing could start there. One of another user may well be at work.
    return error instanceof StoreError ? undefined : { path, owner, epoch: 0, unseen: (error as Error).message }
  }
}

function undecided(original: Original | undefined): StoreError {
  if (original === undefined)
    return new StoreError('restored', 'the store is older than its data folder, or was copied into it', {
      hint: 'Start with --adopt if no other daemon uses this owner (unknown workers are then removed as orphans), or with --new-owner to leave all earlier workers alone.',
    })
  const { path, unseen } = original
  const what =
    unseen === undefined
      ? `the data folder is a copy of ${path}, which is still there`
      : `the data folder was last at work as ${path}, and whether that is still there cannot be seen: ${unseen}`
  return new StoreError('restored', what, {
    hint: `Start with --new-owner if ${path} is to work on: this one then leaves all earlier workers alone. Start with --adopt if this one was moved, or goes on in its place (unknown workers are then removed as orphans), and remove the other.`,
  })
}

/** Two daemons of one owner would each remove what the other makes: the original rests, and its next start asks in turn. */
function layToRest({ path, owner, epoch, unseen }: Original): void {
  const taken = unseen === undefined ? takeRest(path) : undefined
  if (taken === undefined) return
  if ('holder' in taken)
    throw new StoreError('held', `the data folder is a copy of ${path}, which is in use by ${named(taken.holder)}`, {
      hint: 'Stop that daemon first, or start this one with --new-owner.',
    })
  try {
    leap(ownerPath(path), { owner, epoch })
  } finally {
    taken.release()
  }
}

/** Undefined where nothing can be locked, as on a disk that is read only: no daemon starts there either. */
function takeRest(path: string): ReturnType<typeof takeLock> | undefined {
  try {
    return takeLock(lockPath(path))
  } catch {
    return undefined
  }
}

/** The note outside the database, in a data folder. */
export function ownerPath(dir: string): string {
  return join(dir, 'owner.json')
}

/** A start takes one epoch. More starts than any deployment makes between a backup and its restore, where nobody knows how many. */
const LEAP = 1000

/** Notes that a store of this owner was put back: its next start asks what to do, and its epochs go on above those used since. */
export function leap(path: string, restored: { owner: string; epoch: number }): void {
  const before = existsSync(path) ? readNote(path) : undefined
  const last = Math.max(restored.epoch, before?.owner === restored.owner ? before.epoch : 0)
  writeNote(path, { owner: restored.owner, epoch: last + LEAP })
}

/** What the former owner left running is not ours any more: its records end, nothing is terminated. */
async function disown(tx: Tx, at: number): Promise<void> {
  await tx
    .updateTable('workers')
    .set({ phase: 'failed', end: 'disowned', ended_at: at, spec_sealed: null })
    .where('ended_at', 'is', null)
    .execute()
  await tx
    .updateTable('leases')
    .set({ state: 'ended', end: 'lost', end_reason: 'the deployment got a new owner', ended_at: at, request_sealed: null })
    .where('ended_at', 'is', null)
    .execute()
}

/** What waited for a lease then may have had one since, and be full of what it left: nobody is handed it as fresh. */
async function distrust(tx: Tx, at: number): Promise<void> {
  const waiting = await tx
    .selectFrom('workers')
    .select(['id', 'pool', 'provider', 'phase', 'rev'])
    .where('ended_at', 'is', null)
    .where('lease_id', 'is', null)
    .where('phase', 'in', ['launching', 'starting', 'idle'])
    .execute()
  const reason = 'the store was put back, and it may have been used since'
  for (const { id, pool, provider, phase, rev } of waiting) {
    const ending = {
      phase: 'terminating' as const,
      terminate_reason: reason,
      terminate_force: 0,
      log_hold: 0,
      attempt: 0,
      rev: rev + 1,
    }
    await tx
      .updateTable('workers')
      .set({ ...ending, idle_since: null, next_attempt_at: null })
      .where('id', '=', id)
      .execute()
    await tx
      .insertInto('journal')
      .values({
        ...{
          at,
          rule: 'restored-unused',
          decision: `terminate: ${reason}`,
          pool,
          provider,
          worker_id: id,
          lease_id: null,
          run_id: null,
        },
        inputs: JSON.stringify({ phase }),
        change: '',
      })
      .execute()
  }
}

function readNote(path: string): { owner: string; epoch: number } | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return noteSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new StoreError('corrupt', 'owner.json in the data folder cannot be read', {
      hint: 'Restore the file, or remove it and start with --adopt or --new-owner.',
      cause,
    })
  }
}

function writeNote(path: string, note: { owner: string; epoch: number }): void {
  const part = `${path}.part`
  const file = openSync(part, 'w', 0o600)
  try {
    writeSync(file, `${JSON.stringify(note)}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(part, path)
  syncDirectory(join(path, '..'))
}
