/** Room on the disk that no output of runs may take: one job that writes without end must not stop the store, and with it all others. */
import { StoreError } from '../../store/store.ts'
import type { Clock } from '../clock.ts'
import { type DiskRoom, isReserved } from '../disk.ts'
import type { LogWriter } from './log-file.ts'

/** Between two looks at the disk. */
const LOOK_MS = 1000

/** Does nothing while there is more than the reserve. Error: StoreError `full`, as of a disk that is: it is waited for. */
export type Reserve = () => void

export interface ReserveOptions {
  clock: Clock
  room(): DiskRoom
  /** Called with each look. */
  told?(tight: boolean): void
}

export function reserveOf({ clock, room, told }: ReserveOptions): Reserve {
  let [tight, lookedAt] = [false, -Infinity]
  return () => {
    if (clock.now() - lookedAt >= LOOK_MS) {
      lookedAt = clock.now()
      tight = isTight(room)
      told?.(tight)
    }
    if (tight)
      throw new StoreError('full', 'what is left of the disk of the data folder is kept for the store', {
        hint: 'Free room there; Muster goes on by itself. `muster storage` shows what it has.',
      })
  }
}

function isTight(room: () => DiskRoom): boolean {
  try {
    return isReserved(room())
  } catch {
    // A disk that cannot be asked tells by itself when it is full.
    return false
  }
}

/** A log that takes nothing of the reserve. */
export function leavingRoom(writer: LogWriter, reserve: Reserve): LogWriter {
  return {
    ...writer,
    async append(piece) {
      reserve()
      await writer.append(piece)
    },
  }
}

/** Bytes on their way to a file, which take nothing of the reserve. */
export async function* sparing(source: AsyncIterable<Uint8Array>, reserve: Reserve): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of source) {
    reserve()
    yield chunk
  }
}
