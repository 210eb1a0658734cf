/** What the data folder collects besides records: what restores replaced, and unpacked plugins that no provider runs any more. */
import { readdir, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Clock } from './clock.ts'

export interface LeftoversOptions {
  dataDir: string
  clock: Clock
  /** How long each is kept; asked for each round. */
  keep(): { replacedMs: number; unpackedMs: number }
  /** Folders of plugins that run or may be gone back to; asked for each round. */
  inUse(): Promise<readonly string[]>
  report(message: string, data: object): void
}

/** Soon after a start, but not in its way; then ages count in days, and an hour late does not matter. */
const FIRST_MS = 120_000
const INTERVAL_MS = 3_600_000

/** Returns what stops it. */
export function startLeftovers(options: LeftoversOptions): () => Promise<void> {
  const { clock, report } = options
  let stopped = false
  let work = Promise.resolve()
  const round = (): void => {
    work = dropLeftovers(options)
      .catch((error: unknown) => report('what is left over could not be removed', { error: String(error) }))
      .finally(() => {
        if (!stopped) cancel = clock.after(INTERVAL_MS, round)
      })
  }
  let cancel = clock.after(FIRST_MS, round)
  return async () => {
    stopped = true
    cancel()
    await work
  }
}

/** One round. */
export async function dropLeftovers({ dataDir, clock, keep, inUse }: Omit<LeftoversOptions, 'report'>): Promise<void> {
  const { replacedMs, unpackedMs } = keep()
  const now = clock.now()
  const dropOld = async (folder: string, names: readonly string[], ms: number): Promise<void> => {
    for (const path of names.map((name) => join(folder, name))) {
      // One that was used last so long ago: an unpacked plugin is marked at each start that finds it.
      const found = await stat(path).catch(() => undefined)
      if (found !== undefined && found.mtimeMs < now - ms) await rm(path, { recursive: true, force: true })
    }
  }
  const replaced = (await namesIn(dataDir)).filter((name) => name.startsWith('before-restore-'))
  await dropOld(dataDir, replaced, replacedMs)
  const store = join(dataDir, 'plugins')
  const used = new Set((await inUse()).map((folder) => basename(folder)))
  const unpacked = (await namesIn(store)).filter((name) => /^([0-9a-f]{128}|\.draft-[0-9a-f]{16})$/.test(name) && !used.has(name))
  await dropOld(store, unpacked, unpackedMs)
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return []
  }
}
