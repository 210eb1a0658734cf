/** What nobody needs any more in a content store is removed, each folder whole or not at all, also where several hosts have one store. */
import { randomBytes } from 'node:crypto'
import { rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { namesIn } from '../names-in.ts'
import { collectTarballs } from './kept-tarballs.ts'

export interface CollectOptions {
  store: string
  /** Names of folders that somebody needs. */
  needed: Iterable<string>
  /** What was used less long ago is left; at the least {@link heldMs}. */
  keepMs: number
  now: number
  /** Removes nothing. */
  dryRun?: boolean
}

const hour = 3_600_000
/**
 * A folder that was marked as used less long ago may be anybody's: another host on the same store, a lock that is being written, bytes
 * that are being unpacked. Every host marks what it needs each hour and whenever it finds it, and a fetch ends within minutes; one mark
 * may be missed.
 */
export const heldMs: number = 3 * hour

const whole = /^[0-9a-f]{128}$/
const draft = /^\.draft-[0-9a-f]{16}$/
const dropped = /^\.drop-[0-9a-f]{16}$/

/** Names in the store of what is removed, or would be: folders, and the tarballs of which none is left. */
export async function collectContent({ store, needed, keepMs, now, dryRun = false }: CollectOptions): Promise<string[]> {
  const used = new Set(needed)
  const before = now - Math.max(keepMs, heldMs)
  const removed: string[] = []
  for (const name of await namesIn(store)) {
    // Of a removal that was cut off. One that was marked meanwhile is about to go back.
    if (dropped.test(name) && !dryRun && (await isOlder(join(store, name), now - heldMs)))
      await rm(join(store, name), { recursive: true, force: true })
    const mayGo = draft.test(name) || (whole.test(name) && !used.has(name))
    if (!mayGo || !(await isOlder(join(store, name), before))) continue
    if (dryRun || (await drop(store, name, before))) removed.push(name)
  }
  // After the folders: of these, what is left of one that went.
  return [...removed, ...(await collectTarballs(store, { used, before, dryRun }))]
}

/** Marks what is needed as used, so that no other host takes it for nobody's. */
export async function markContent(store: string, needed: Iterable<string>, now: number): Promise<void> {
  const at = new Date(now)
  // What is not there, or is another user's, is left as it is.
  for (const name of new Set(needed)) await utimes(join(store, name), at, at).catch(() => undefined)
}

/** Away in one step, so that a kill leaves nothing half under its name; only then the files go. False: it is left. */
export async function drop(store: string, name: string, before: number): Promise<boolean> {
  const path = join(store, name)
  const aside = join(store, `.drop-${randomBytes(8).toString('hex')}`)
  try {
    await rename(path, aside)
  } catch (error) {
    // Another host was quicker.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  // Somebody marked it in between, and has it open: it goes back, unless it is there again.
  const isBack =
    !(await isOlder(aside, before)) &&
    (await rename(aside, path).then(
      () => true,
      () => false,
    ))
  if (!isBack) await rm(aside, { recursive: true, force: true })
  return !isBack
}

async function isOlder(path: string, before: number): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found !== undefined && found.mtimeMs < before
}
