/** A duplex whose other end takes bytes only when told: what is in it is what has left the writer for good. */
import { Duplex } from 'node:stream'
import { createFrameReader } from './frames.ts'

export type SeenFrame = { message: Record<string, unknown> } | { stream: number; bytes: number }

export interface GatedDuplex {
  duplex: Duplex
  /** Takes everything from now on, until {@link shut}. */
  open(): void
  shut(): void
  /** Frames that came through. */
  seen: SeenFrame[]
}

export function gatedDuplex(): GatedDuplex {
  const seen: SeenFrame[] = []
  const held: { chunks: Buffer[]; done: () => void }[] = []
  let isOpen = false
  const reader = createFrameReader({
    message: (body) => seen.push({ message: JSON.parse(body.toString()) as Record<string, unknown> }),
    data: (stream, payload) => seen.push({ stream, bytes: payload.length }),
  })
  const take = (chunks: Buffer[], done: () => void): void => {
    for (const chunk of chunks) reader.push(chunk)
    done()
  }
  const offer = (chunks: Buffer[], done: () => void): void => {
    if (isOpen) take(chunks, done)
    else held.push({ chunks, done })
  }
  const duplex = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => offer([chunk], done),
    writev: (chunks, done) =>
      offer(
        chunks.map((one) => one.chunk as Buffer),
        done,
      ),
  })
  return {
    duplex,
    seen,
    open() {
      isOpen = true
      for (const one of held.splice(0)) take(one.chunks, one.done)
    },
    shut() {
      isOpen = false
    },
  }
}
