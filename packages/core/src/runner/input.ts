/** The command's standard input, cut into numbered segments: each is sent until the worker has taken it over, whoever was killed meanwhile. */
import { toProviderError } from '../errors.ts'

/** One segment costs the worker about five short processes; this size hides them and still bounds memory. */
const SEGMENT_BYTES = 262_144
/** How much the worker keeps of what the command has not read yet. */
const WINDOW_BYTES = 1_048_576

export type Segment = { offset: number; data: Uint8Array }

export interface Input {
  /** The worker has taken over `next` bytes, and the command's pipe took `fed` of them. */
  seen(next: number, fed: number): void
  /** The segment to send now. An empty one ends the input. */
  segment(): Segment | undefined
  /** Is there more to send as soon as the command reads? */
  readonly held: boolean
  stop(): void
}

/** `ring` is called when a segment becomes ready; `fail` when `source` throws. The first byte of `source` is the first of the input. */
export function createInput(
  source: AsyncIterable<Uint8Array>,
  on: { ring: () => void; fail: (error: ReturnType<typeof toProviderError>) => void },
): Input {
  const iterator = source[Symbol.asyncIterator]()
  let next: number | undefined
  let fed = 0
  /** Where `data` begins. */
  let offset = 0
  let data: Uint8Array | undefined
  let state: 'open' | 'reading' | 'ended' | 'done' = 'open'

  function read(): void {
    state = 'reading'
    iterator.next().then(
      (result) => {
        if (state === 'done') return
        if (result.done === true) state = 'ended'
        else {
          data = result.value
          state = 'open'
        }
        on.ring()
      },
      (error: unknown) => on.fail(toProviderError(error, 'the input failed')),
    )
  }

  /** Drops what the worker has, and asks for more when nothing is left. */
  function settle(): void {
    if (next === undefined) return
    while (data) {
      const skip = Math.min(next - offset, data.length)
      offset += skip
      data = data.subarray(skip)
      if (data.length > 0) return
      data = undefined
    }
    if (state === 'open') read()
  }

  return {
    seen(taken, read) {
      next = taken
      fed = read
      settle()
    },
    segment() {
      settle()
      if (next === undefined || next - fed >= WINDOW_BYTES) return undefined
      if (data) return { offset, data: data.subarray(0, SEGMENT_BYTES) }
      if (state !== 'ended') return undefined
      state = 'done'
      return { offset, data: new Uint8Array(0) }
    },
    get held() {
      return next !== undefined && next - fed >= WINDOW_BYTES
    },
    stop() {
      state = 'done'
      void iterator.return?.().catch(() => undefined)
    },
  }
}
