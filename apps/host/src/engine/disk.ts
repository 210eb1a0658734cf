/** Watches the room on the disk of the data folder: a condition before it is full, not only when it is. */
import { type StatsFs, statfsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Conditions } from './api.ts'
import type { Clock } from './clock.ts'

/** The room that is left, in bytes. */
export interface DiskRoom {
  free: number
  total: number
}

export interface DiskWatchOptions {
  dataDir: string
  conditions: Conditions
  clock: Clock
  room?: (path: string) => Promise<DiskRoom>
}

const INTERVAL_MS = 60_000
/** Both: a twentieth of a large disk is plenty, and 2 GiB of a small one may be its half. */
const LOW_SHARE = 0.05
const LOW_BYTES = 2 * 2 ** 30
/** It is over only when somewhat more is free, so that it does not come and go. */
const CLEAR = 1.2

const key = { scope: 'host', name: 'disk', type: 'disk-low' } as const

/** Looks now and each minute. Returns what stops it. */
export function startDiskWatch({ dataDir, conditions, clock, room = roomOf }: DiskWatchOptions): () => Promise<void> {
  let cancel = (): void => undefined
  let stopped = false
  async function look(): Promise<void> {
    const { free, total } = await room(dataDir)
    if (free < LOW_BYTES && free < LOW_SHARE * total)
      conditions.raise({
        ...key,
        message: `less than ${LOW_SHARE * 100} % is free on the disk of the data folder`,
        hint: 'Free room there. `muster storage` shows what Muster has; retention.logs, retention.runs and retention.journal keep less.',
      })
    else if (free > LOW_BYTES * CLEAR || free > LOW_SHARE * CLEAR * total) conditions.clear(key)
  }
  // A disk that cannot be asked is told by the store when it matters.
  const round = (): void =>
    void look()
      .catch(() => undefined)
      .finally(() => {
        if (!stopped) cancel = clock.after(INTERVAL_MS, round)
      })
  round()
  return async () => {
    stopped = true
    cancel()
  }
}

export async function roomOf(path: string): Promise<DiskRoom> {
  return roomIn(await statfs(path))
}

/** As {@link DiskWatchOptions.room}, at once: a system call that takes microseconds, where the store itself is written in the same way. */
export function roomNow(path: string): DiskRoom {
  return roomIn(statfsSync(path))
}

function roomIn({ bavail, blocks, bsize }: StatsFs): DiskRoom {
  return { free: bavail * bsize, total: blocks * bsize }
}
