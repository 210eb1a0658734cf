/** A source that is given up with what it is for. */

/** Ends with an error when the signal aborts, also while it waits for its source. */
export async function* cutBy(
  source: AsyncIterable<Uint8Array>,
  { signal, error }: { signal: AbortSignal; error: () => Error },
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]()
  const cut = Promise.withResolvers<never>()
  cut.promise.catch(() => undefined)
  const abort = (): void => cut.reject(error())
  signal.addEventListener('abort', abort, { once: true })
  // It may be read only after that, as when a file had to be made first.
  if (signal.aborted) abort()
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), cut.promise])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    signal.removeEventListener('abort', abort)
    // Not awaited: one that hangs must not hold the run.
    void iterator.return?.()?.catch(() => undefined)
  }
}
