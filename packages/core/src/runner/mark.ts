/** One output stream of a run: counts offsets, and finds the mark that ends it. */

export interface Track {
  /** Takes the next bytes of the file, gives back what is output of the run. */
  push(data: Uint8Array): { offset: number; data: Uint8Array }[]
  /** The command has ended: a mark ends the stream from now on. */
  watch(mark: Uint8Array): void
  /** Nothing more will come: gives back what was held for a mark. */
  flush(): { offset: number; data: Uint8Array }[]
  /** Has the mark been found? */
  readonly ended: boolean
  /** After the last byte that was given back. */
  readonly offset: number
}

export function createTrack(from: number): Track {
  let offset = from
  let mark: Buffer | undefined
  let held = Buffer.alloc(0)
  let ended = false

  function take(data: Uint8Array): { offset: number; data: Uint8Array }[] {
    if (data.length === 0) return []
    const chunk = { offset, data }
    offset += data.length
    return [chunk]
  }

  return {
    push(data) {
      if (ended) return []
      if (!mark) return take(data)
      const both = Buffer.concat([held, data])
      const at = both.indexOf(mark)
      if (at >= 0) {
        ended = true
        held = Buffer.alloc(0)
        return take(both.subarray(0, at))
      }
      // The last bytes may be the beginning of the mark.
      const sure = Math.max(0, both.length - mark.length + 1)
      held = both.subarray(sure)
      return take(both.subarray(0, sure))
    },
    watch(bytes) {
      mark = Buffer.from(bytes)
    },
    flush() {
      const chunk = take(held)
      held = Buffer.alloc(0)
      return chunk
    },
    get ended() {
      return ended
    },
    get offset() {
      return offset
    },
  }
}
