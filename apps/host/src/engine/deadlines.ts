/** One timer for all deadlines: a heap of what is due when. Setting one again moves it; nothing walks over all of them. */
import type { Clock } from './clock.ts'

export interface Deadlines {
  /** `run` is called once at `at` (milliseconds since 1970), unless the key is set again or cleared before. */
  set(key: string, at: number, run: () => void): void
  clear(key: string): void
  /** Runs nothing any more. */
  stop(): void
  size(): number
}

interface Entry {
  key: string
  at: number
  run: () => void
}

export function deadlines(clock: Clock): Deadlines {
  const live = new Map<string, Entry>()
  let heap: Entry[] = []
  let cancel: (() => void) | undefined
  let armedAt = Infinity
  let stopped = false

  function arm(): void {
    const next = heap[0]
    if (stopped || next === undefined || next.at >= armedAt) return
    cancel?.()
    armedAt = next.at
    cancel = clock.after(next.at - clock.now(), fire)
  }

  function fire(): void {
    armedAt = Infinity
    cancel = undefined
    const now = clock.now()
    for (let next = heap[0]; next !== undefined && next.at <= now; next = heap[0]) {
      pop(heap)
      if (live.get(next.key) !== next) continue
      live.delete(next.key)
      next.run()
    }
    arm()
  }

  /** Entries that were moved or cleared stay in the heap until they come up; many of them are swept at once. */
  function sweep(): void {
    if (heap.length < Math.max(1024, live.size * 4)) return
    const kept = [...live.values()]
    heap = []
    for (const entry of kept) push(heap, entry)
  }

  return {
    set: (key, at, run) => {
      if (stopped) return
      const before = live.get(key)
      if (before?.at === at) {
        before.run = run
        return
      }
      const entry = { key, at, run }
      live.set(key, entry)
      push(heap, entry)
      sweep()
      arm()
    },
    clear: (key) => {
      live.delete(key)
    },
    stop: () => {
      stopped = true
      cancel?.()
      live.clear()
      heap = []
    },
    size: () => live.size,
  }
}

function push(heap: Entry[], entry: Entry): void {
  let at = heap.push(entry) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    const above = heap[parent]
    if (above === undefined || above.at <= entry.at) break
    heap[at] = above
    at = parent
  }
  heap[at] = entry
}

function pop(heap: Entry[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let child = at * 2 + 1
    const right = heap[child + 1]
    let below = heap[child]
    if (right !== undefined && below !== undefined && right.at < below.at) {
      child += 1
      below = right
    }
    if (below === undefined || below.at >= last.at) break
    heap[at] = below
    at = child
  }
  heap[at] = last
}
