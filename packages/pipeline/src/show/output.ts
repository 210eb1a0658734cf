/** Where text goes: waits for a slow reader, and says when there is none any more. */

export interface TextSink {
  write(text: string, done: (error?: Error | null) => void): boolean
}

/** Nobody reads our output any more. */
export class OutputClosedError extends Error {
  override readonly name = 'OutputClosedError'
}

/** Writes all of it. Resolves when the reader has taken it: a slow one slows the sender down, whatever comes meanwhile. */
export async function writeTo(sink: TextSink, text: string): Promise<void> {
  if (text === '') return
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  sink.write(text, (error) =>
    error ? reject(new OutputClosedError(`nobody reads the output any more: ${error.message}`, { cause: error })) : resolve(),
  )
  await promise
}
