/** Watches that whoever reads an answer does not stand still: what it holds meanwhile, others wait for. */
import type { Clock } from '../engine/clock.ts'

export interface ReaderWatch {
  /** Hands on what `source` gives; the time between two chunks in which the reader is waited for is the reader's. */
  follow<T>(source: AsyncIterable<T>): AsyncGenerator<T, void, undefined>
  /** The reader has all of it, or is gone. */
  end(): void
}

/** Calls `onStill` once when for `ms` nothing is taken, also of what was given last. */
export function watchReader({
  clock,
  ms,
  onStill,
}: {
  clock: Pick<Clock, 'now' | 'after'>
  ms: number
  onStill: () => void
}): ReaderWatch {
  let ended = false
  let cancel = (): void => undefined
  // By the clock, not by the timer: a daemon that was stopped for so long has not watched.
  function look(since: number): void {
    if (ended) return
    const left = since + ms - clock.now()
    if (left <= 0) return onStill()
    cancel = clock.after(left, () => look(since))
  }
  const waitsForReader = (): void => look(clock.now())
  return {
    async *follow(source) {
      for await (const chunk of source) {
        waitsForReader()
        yield chunk
        cancel()
      }
      waitsForReader()
    },
    end: () => {
      ended = true
      cancel()
    },
  }
}
