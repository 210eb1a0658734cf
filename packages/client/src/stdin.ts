/** Standard input of a run: pieces that are each repeated until the daemon has stored them. */
import type { Caller } from './call.ts'
import { MusterError } from './errors.ts'

/** Large enough that a copy runs at the speed of the disk, small enough for the server's limit of a body. */
const PIECE_BYTES = 262_144

/**
 * Sends all of `source`, then its end. Resolves with `false` when the command has ended, or will read no more, before that. What is read
 * from `source` is sent at once; while the command reads slowly, `source` is not read.
 */
export async function sendStdin(
  caller: Caller,
  id: string,
  { source, signal }: { source: AsyncIterable<Uint8Array>; signal?: AbortSignal },
): Promise<boolean> {
  let offset = 0
  const send = async (data: Uint8Array, end: boolean): Promise<boolean> => {
    try {
      const state = await caller.call('writeStdin', {
        params: { id },
        query: { offset, end: end ? 'true' : 'false' },
        bytes: data,
        headers: { 'content-type': 'application/octet-stream' },
        ...(signal === undefined ? {} : { signal }),
      })
      offset = state.offset
      return true
    } catch (error) {
      if (error instanceof MusterError && error.code === 'ended') return false
      throw error
    }
  }
  for await (const chunk of endedBy(source, signal))
    for (let at = 0; at < chunk.length; at += PIECE_BYTES)
      if (!(await send(chunk.subarray(at, at + PIECE_BYTES), false))) return false
  return send(new Uint8Array(), true)
}

/** What `source` gives, until the signal aborts: also while it waits, and it may wait for ever. Throws the signal's reason. */
async function* endedBy<T>(source: AsyncIterable<T>, signal: AbortSignal | undefined): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]()
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(() => undefined)
  const abort = (): void => reject(signal?.reason as Error)
  signal?.addEventListener('abort', abort, { once: true })
  try {
    for (;;) {
      signal?.throwIfAborted()
      const next = await Promise.race([iterator.next(), promise])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    signal?.removeEventListener('abort', abort)
    void iterator.return?.()?.catch(() => undefined)
  }
}
