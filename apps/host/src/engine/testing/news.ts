/** What a scripted vendor tells to those who listen. */
import { ProviderError } from '@muster/core'

/** Those who listen. */
export type Told<T> = Set<(seen: T | ProviderError) => void>

/** All that is told from now on. */
export async function* newsOf<T>(told: Told<T>, signal: AbortSignal | undefined): AsyncGenerator<T> {
  const queue: (T | ProviderError)[] = []
  let wake = (): void => {}
  const tell = (seen: T | ProviderError): void => {
    queue.push(seen)
    wake()
  }
  told.add(tell)
  try {
    while (signal?.aborted !== true) {
      const next = queue.shift()
      if (next instanceof ProviderError) throw next
      if (next !== undefined) yield next
      else
        await new Promise<void>((resolve) => {
          wake = resolve
          signal?.addEventListener('abort', () => resolve(), { once: true })
        })
    }
  } finally {
    told.delete(tell)
  }
}
