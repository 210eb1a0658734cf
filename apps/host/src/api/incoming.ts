/** Bodies that are not held in memory. */
import type { IncomingMessage } from 'node:http'

/** The body as it comes in; an error when the client goes before its end, and the signal's reason when that aborts, also while nothing comes. */
export async function* bodyOf(body: IncomingMessage, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  // Whoever takes no more of it still has an answer to give on the same connection.
  const chunks = body.iterator({ destroyOnReturn: false })
  let cut: ((reason: unknown) => void) | undefined
  const abort = (): void => cut?.(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    for (;;) {
      signal.throwIfAborted()
      // Anew for each: one promise for all would keep a note of every chunk that has come.
      const aborted = Promise.withResolvers<never>()
      cut = aborted.reject
      const next = await Promise.race([chunks.next(), aborted.promise])
      if (next.done === true) break
      yield next.value as Buffer
    }
  } finally {
    signal.removeEventListener('abort', abort)
    // Not awaited: it ends with the connection.
    void chunks.return?.().catch(() => undefined)
  }
  if (!body.complete) throw new Error('the body was cut off')
}
