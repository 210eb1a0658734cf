/** What Muster has on its disk, by kind: for an operator who looks for room. */
import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from '../store/store.ts'
import { type DiskRoom, roomOf } from './disk.ts'

export interface StorageFacts {
  /** When it was looked at; milliseconds since 1970. */
  at: number
  disk: DiskRoom
  /** Bytes of the store's files, and how much of that is free inside. */
  store: { bytes: number; freeBytes: number }
  /** Rows of the store, by table. */
  rows: Record<string, number>
  /** Bytes by folder of the data folder. */
  folders: Record<string, number>
}

export interface StorageRoom {
  /** Looks at most once a minute: a walk over many files is not for everybody who asks. */
  facts(): Promise<StorageFacts>
}

export interface StorageOptions {
  store: Store
  dataDir: string
  now?: () => number
}

const FRESH_MS = 60_000
const tables = ['workers', 'leases', 'runs', 'idempotency', 'tokens', 'orphans', 'conditions'] as const

export function openStorage({ store, dataDir, now = Date.now }: StorageOptions): StorageRoom {
  let known: { at: number; facts: Promise<StorageFacts> } | undefined

  async function look(): Promise<StorageFacts> {
    const at = now()
    const rows: Record<string, number> = { journal: await journalRows(store) }
    for (const table of tables) {
      const { count } = await store.read
        .selectFrom(table)
        .select((all) => all.fn.countAll<number | string>().as('count'))
        .executeTakeFirstOrThrow()
      rows[table] = Number(count)
      // Each count is a walk over an index: not all of them in one turn.
      await new Promise((resolve) => setImmediate(resolve))
    }
    const folders: Record<string, number> = {}
    for (const entry of await readdir(dataDir, { withFileTypes: true }))
      if (await leadsToFolder(dataDir, entry)) folders[entry.name] = await bytesOf(join(dataDir, entry.name))
    return { at, disk: await roomOf(dataDir), store: store.size(), rows, folders }
  }

  return {
    facts: () => {
      if (known === undefined || Math.abs(now() - known.at) >= FRESH_MS) {
        const facts = look()
        known = { at: now(), facts }
        // A failure is not kept for a minute.
        facts.catch(() => (known = undefined))
      }
      return known.facts
    },
  }
}

/** Itself one, or a link to one: operators put what grows on another disk. */
async function leadsToFolder(dataDir: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  return stat(join(dataDir, entry.name)).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

/** From its numbers: its rows are dropped in their order, and a count of millions would take too long. */
async function journalRows({ read }: Store): Promise<number> {
  const seq = async (order: 'asc' | 'desc'): Promise<number | undefined> =>
    (await read.selectFrom('journal').select('seq').orderBy('seq', order).limit(1).executeTakeFirst())?.seq
  const [first, last] = [await seq('asc'), await seq('desc')]
  return first === undefined || last === undefined ? 0 : last - first + 1
}

/** Folder by folder, so that no list of all files is held. */
export async function bytesOf(folder: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) bytes += await bytesOf(path)
    else if (entry.isFile())
      bytes += await stat(path).then(
        (found) => found.size,
        () => 0,
      )
  }
  return bytes
}
