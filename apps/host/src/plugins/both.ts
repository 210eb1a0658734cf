/** Two streams as one. It ends and fails with the first; the second only adds to it. */

/** Kept for a reader that is slower than both: then they wait. */
const KEPT = 100

export async function* both<T>(first: AsyncIterable<T>, second: AsyncIterable<T>): AsyncGenerator<T> {
  const items: T[] = []
  let change = Promise.withResolvers<void>()
  let ended: { error?: unknown } | undefined
  let left = false
  const changed = (): void => {
    change.resolve()
    change = Promise.withResolvers<void>()
  }
  async function read(from: AsyncIterable<T>): Promise<void> {
    for await (const item of from) {
      while (items.length >= KEPT && !left) await change.promise
      if (left) return
      items.push(item)
      changed()
    }
  }
  const end = (how: { error?: unknown }): void => {
    ended = how
    changed()
  }
  read(first).then(
    () => end({}),
    (error: unknown) => end({ error }),
  )
  read(second).catch(() => undefined)
  try {
    for (;;) {
      const item = items.shift()
      if (item !== undefined) {
        changed()
        yield item
      } else if (ended === undefined) await change.promise
      else if ('error' in ended) throw ended.error
      else return
    }
  } finally {
    left = true
    changed()
  }
}
