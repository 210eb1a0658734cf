/** Tars on their way into a worker: all of it is here before the first byte goes further, so that one that is cut off changes nothing there. */
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sealer } from '../store/seal.ts'
import type { Clock } from './clock.ts'
import { type DiskRoom, roomNow } from './disk.ts'
import { bounded } from './runs/exchange.ts'
import { reserveOf, sparing } from './runs/reserve.ts'
import { readSealed, writeSealed } from './runs/sealed-file.ts'

export interface Copies {
  /** Reads to the end. Errors: what `source` throws, RunError `too-large`, StoreError `full`; then nothing of it is left. */
  whole(source: AsyncIterable<Uint8Array>): Promise<WholeCopy>
}

export interface WholeCopy extends AsyncDisposable {
  bytes(): AsyncIterable<Uint8Array>
}

export interface CopiesOptions {
  dataDir: string
  sealer: Sealer
  clock: Clock
  room?: () => DiskRoom
}

/** A file or two of sources; many at once are no weight. */
const HELD_BYTES = 65_536

/** Those of a daemon that was killed are nobody's. */
export async function openCopies({ dataDir, sealer, clock, room = () => roomNow(dataDir) }: CopiesOptions): Promise<Copies> {
  const folder = join(dataDir, 'copies')
  const reserve = reserveOf({ clock, room })
  await rm(folder, { recursive: true, force: true })

  async function onDisk(source: AsyncIterable<Uint8Array>): Promise<WholeCopy> {
    const name = randomUUID()
    const [path, seal] = [join(folder, name), { sealer, context: `copy:${name}` }]
    await writeSealed(path, sparing(source, reserve), seal)
    return { bytes: () => readSealed(path, seal), [Symbol.asyncDispose]: () => rm(path, { force: true }) }
  }

  return {
    async whole(source) {
      const coming = bounded(source, 'a copy')
      const held: Uint8Array[] = []
      for (let bytes = 0; bytes <= HELD_BYTES;) {
        const { done, value } = await coming.next()
        if (done === true) return { bytes: () => given(held), [Symbol.asyncDispose]: async () => undefined }
        held.push(value)
        bytes += value.length
      }
      return onDisk(given(held, coming))
    },
  }
}

async function* given(held: readonly Uint8Array[], more?: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* held
  if (more !== undefined) yield* more
}
