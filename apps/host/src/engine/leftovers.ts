/** What the data folder collects besides records: what restores replaced, and unpacked plugins that no provider runs any more. */
import { rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { namesIn } from '../names-in.ts'
import { collectContent, markContent } from '../plugins/collect.ts'
import type { Clock } from './clock.ts'

export interface LeftoversOptions {
  dataDir: string
  clock: Clock
  /** How long each is kept; asked for each round. */
  keep(): { replacedMs: number; unpackedMs: number }
  /** Folders of plugins that run, that live workers belong to or that may be gone back to; asked for each round. */
  inUse(): Promise<readonly string[]>
  report(message: string, data: object): void
}

/** Soon after a start, but not in its way; then ages count in days, and an hour late does not matter. Other hosts on the same store go by it. */
const FIRST_MS = 120_000
const INTERVAL_MS = 3_600_000

export interface Leftovers {
  /** A round at once: something may be needed no longer. */
  now(): void
  stop(): Promise<void>
}

export function startLeftovers(options: LeftoversOptions): Leftovers {
  const { clock, report } = options
  let stopped = false
  let work = Promise.resolve()
  const round = (): void => {
    work = work
      .then(() => dropLeftovers(options))
      .catch((error: unknown) => report('what is left over could not be removed', { error: String(error) }))
      .finally(() => {
        cancel()
        if (!stopped) cancel = clock.after(INTERVAL_MS, round)
      })
  }
  let cancel = clock.after(FIRST_MS, round)
  return {
    now: () => {
      if (!stopped) round()
    },
    stop: async () => {
      stopped = true
      cancel()
      await work
    },
  }
}

/** One round. */
export async function dropLeftovers({ dataDir, clock, keep, inUse }: Omit<LeftoversOptions, 'report'>): Promise<void> {
  const { replacedMs, unpackedMs } = keep()
  const now = clock.now()
  const dropOld = async (folder: string, names: readonly string[], ms: number): Promise<void> => {
    for (const path of names.map((name) => join(folder, name))) {
      const found = await stat(path).catch(() => undefined)
      if (found !== undefined && found.mtimeMs < now - ms) await rm(path, { recursive: true, force: true })
    }
  }
  const replaced = (await namesIn(dataDir)).filter((name) => name.startsWith('before-restore-'))
  await dropOld(dataDir, replaced, replacedMs)
  const store = join(dataDir, 'plugins')
  const needed = (await inUse()).map((folder) => basename(folder))
  await markContent(store, needed, now)
  await collectContent({ store, needed, keepMs: unpackedMs, now })
}
