/**
 * Where a store was last at work. A data folder that was copied as a whole has all that its original has, its owner too: two daemons would
 * each take the workers that the other makes for orphans. As long as the original is there, the copy is known by it.
 */
import { realpathSync, type Stats, statSync } from 'node:fs'
import { z } from 'zod'
import type { Store, Tx } from './store.ts'

const KEY = 'home'

export interface Home {
  /** Without links. */
  path: string
  /** The last start there gave it its owner anew: saying so again, as a unit file does, asks for nothing. */
  renewed?: boolean
}

const homeSchema: z.ZodType<Home> = z.object({ path: z.string(), renewed: z.boolean().exactOptional() })

/** Undefined: it was at work in former versions only, or nowhere. */
export async function readHome(store: Pick<Store, 'read'>): Promise<Home | undefined> {
  const row = await store.read.selectFrom('meta').select('value').where('key', '=', KEY).executeTakeFirst()
  return row === undefined ? undefined : homeSchema.parse(JSON.parse(row.value))
}

export async function writeHome(tx: Tx, home: Home): Promise<void> {
  const value = JSON.stringify(home)
  await tx
    .insertInto('meta')
    .values({ key: KEY, value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute()
}

export function homeOf(dir: string): string {
  return realpathSync(dir)
}

/** The number that its file system knows the folder by; it may be more than a number of JavaScript holds. */
export function folderOf(dir: string): string {
  return String(statSync(dir, { bigint: true }).ino)
}

/**
 * Is the former home another folder than `dir`, and there? A link or another mount of the same folder is the same. Throws the system's error where
 * that cannot be seen.
 */
export function isAnother(dir: string, former: Home): boolean {
  if (former.path === homeOf(dir)) return false
  const here = statSync(dir)
  const there = statOf(former.path)
  return there !== undefined && (here.dev !== there.dev || here.ino !== there.ino)
}

/** Undefined: nothing is there. `existsSync` says so too of what this user may not look at. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}
