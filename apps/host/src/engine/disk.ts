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

/** What no output of runs may take; the smaller of both: days of records, and little of a small disk. */
const RESERVE_BYTES = 256 * 2 ** 20
const RESERVE_SHARE = 0.02

const key = { scope: 'host', name: 'disk', type: 'disk-low' } as const
const waits = { scope: 'host', name: 'disk', type: 'output-waits' } as const

export function reservedOf({ total }: DiskRoom): number {
  return Math.min(RESERVE_BYTES, RESERVE_SHARE * total)
}

export function isReserved(room: DiskRoom): boolean {
  return room.free < reservedOf(room)
}

/** Of the condition `output-waits`. */
export function tellReserved(conditions: Pick<Conditions, 'raise' | 'clear'>, tight: boolean): void {
  if (!tight) return conditions.clear(waits)
  conditions.raise({
    ...waits,
    message: 'what is left of the disk of the data folder is kept for the store: output of runs waits, and so do their ends',
    hint: 'Free room there; runs go on by themselves. `muster storage` shows what Muster has.',
  })
}

/** Looks now and each minute. Returns what stops it. */
export function startDiskWatch({ dataDir, conditions, clock, room = roomOf }: DiskWatchOptions): () => Promise<void> {
  let cancel = (): void => undefined
  let stopped = false
  async function look(): Promise<void> {
    const left = await room(dataDir)
    const { free, total } = left
    // Runs tell it at once; that it is over also where none is left that looks.
    tellReserved(conditions, isReserved(left))
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
