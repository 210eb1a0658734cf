/** The way into a raw exec: requests go out in order; the protocol answers each, so that at most one waits here. */

export interface Channel extends AsyncIterable<Uint8Array> {
  send(data: string | Uint8Array): void
  end(): void
}

export function createChannel(): Channel {
  const queue: Uint8Array[] = []
  let ended = false
  let wake: (() => void) | undefined

  async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const next = queue.shift()
      if (next) yield next
      else if (ended) return
      else
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    }
  }
  const iterator = read()
  return {
    send(data) {
      queue.push(typeof data === 'string' ? Buffer.from(data) : data)
      wake?.()
    },
    end() {
      ended = true
      wake?.()
    },
    [Symbol.asyncIterator]: () => iterator,
  }
}
