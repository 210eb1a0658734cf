/** Room on the disk of the workers that no new worker may take: what is there already, and the host's own store, need it. */
import { statfs } from 'node:fs/promises'
import { ProviderError } from '@muster/core'

export interface Room {
  free: number
  total: number
}

export type RoomOf = (path: string) => Promise<Room>

export interface Disk {
  /** Error: `capacity`, while there is less than the reserve. */
  check(): Promise<void>
}

/** The smaller of both; twice what the host keeps of its own disk for its store, so that launches stop before that is touched. */
const RESERVE_BYTES = 512 * 2 ** 20
const RESERVE_SHARE = 0.04

export function diskOf(
  path: string,
  { reserveBytes, room = roomOf }: { reserveBytes?: number | undefined; room?: RoomOf },
): Disk {
  return {
    async check() {
      const { free, total } = await room(path)
      const reserve = reserveBytes ?? Math.min(RESERVE_BYTES, RESERVE_SHARE * total)
      if (free >= reserve) return
      const found = `${mebibytes(free)} are free on the disk of ${path}, and ${mebibytes(reserve)} stay free (reserveBytes)`
      throw new ProviderError('capacity', `no worker is made: ${found}`, { effect: 'none', hint: 'free room on that disk' })
    },
  }
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MiB`
}

async function roomOf(path: string): Promise<Room> {
  const { bavail, blocks, bsize } = await statfs(path)
  return { free: bavail * bsize, total: blocks * bsize }
}
