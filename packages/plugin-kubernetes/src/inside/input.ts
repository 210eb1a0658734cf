/** An input that is written bit by bit. */
export interface Input {
  bytes: AsyncIterable<Uint8Array>
  push(text: string | Uint8Array): void
  end(): void
}

export function createInput(): Input {
  const waiting: Uint8Array[] = []
  let ended = false
  let wake: () => void = () => undefined
  async function* bytes(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = waiting.shift()
      if (next !== undefined) yield next
      else if (ended) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  return {
    bytes: bytes(),
    push(text) {
      waiting.push(typeof text === 'string' ? Buffer.from(text) : text)
      wake()
    },
    end() {
      ended = true
      wake()
    },
  }
}
