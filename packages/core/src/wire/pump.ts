/** Moves an AsyncIterable into a stream's sender, at the pace of its reader. Used by both sides. */
import { ProviderError } from '../errors.ts'
import { splitBytes } from './items.ts'
import type { Sender } from './streams.ts'

/** Frames' payloads of one value. */
export type Encode = (value: unknown) => (readonly Uint8Array[])[]

/**
 * Ends when the source has ended, or when nothing more can be sent; then the source's `return()` is called. Throws what the source
 * or `encode` throws. Holds one value at a time. Does not end the sender.
 */
export async function pump(source: AsyncIterable<unknown>, sender: Sender, encode: Encode): Promise<void> {
  const iterator = source[Symbol.asyncIterator]()
  let over = false
  const next = async (): Promise<IteratorResult<unknown>> => {
    try {
      return await iterator.next()
    } catch (error) {
      over = true
      throw error
    }
  }
  try {
    while (!sender.signal.aborted) {
      const step = await orAborted(next(), sender.signal)
      if (step === undefined) return
      if (step.done === true) {
        over = true
        return
      }
      for (const payload of encode(step.value)) if (!(await sender.write(payload))) return
    }
  } finally {
    if (!over) await endIterator(iterator)
  }
}

/** Byte streams are split where they are too long, and nothing is sent for no bytes. */
export function encodeBytes(value: unknown): (readonly Uint8Array[])[] {
  if (!(value instanceof Uint8Array)) throw new ProviderError('internal', 'a byte stream gave a value that is no Uint8Array')
  return splitBytes(value).map((part) => [part])
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function'
  )
}

/** Lets the source clean up. Its errors have no reader any more. */
async function endIterator(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The stream is over; what its clean-up throws changes nothing.
  }
}

/** The promise's value, or undefined once the signal aborts; a late rejection is dropped. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve(undefined)
    signal.addEventListener('abort', stop, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
