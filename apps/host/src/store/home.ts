/**
 * Where a store was last at work. A data folder that was copied as a whole has all that its original has, its owner too: two daemons would
 * each take the workers that the other makes for orphans. As long as the original is there, the copy is known by it.
 */
import { existsSync, realpathSync, statSync } from 'node:fs'
import { z } from 'zod'
import { type Holder, whoHolds } from './lock.ts'
import { lockPath } from './open.ts'
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

/** Is the former home another folder than `dir`, and there? A link or another mount of the same folder is the same. */
export function isAnother(dir: string, former: Home): boolean {
  if (former.path === homeOf(dir) || !existsSync(former.path)) return false
  const [here, there] = [statSync(dir), statSync(former.path)]
  return here.dev !== there.dev || here.ino !== there.ino
}

/** The daemon that works in a data folder now. */
export function whoWorksIn(dir: string): Holder | 'unknown' | undefined {
  const path = lockPath(dir)
  return existsSync(path) ? whoHolds(path) : undefined
}
