/**
 * A tar whose end is told, `application/vnd.muster.tar`: frames of u32 BE length and so many bytes of the tar. A length of 0 is the last
 * frame: what follows it, up to the end of the answer, is JSON, `{ problem? }`; with a problem the tar holds what could be read. An
 * answer that ends without it was cut off. As `application/x-tar` a tar that does not come to its end is cut off, and nobody is told why.
 */
import type { ProblemBody } from './problems.ts'

export const FRAMED_TYPE = 'application/vnd.muster.tar'
export const TAR_TYPE = 'application/x-tar'

/** Does whoever asks read frames? */
export function readsFrames(accept: string | undefined): boolean {
  return accept?.includes(FRAMED_TYPE) === true
}

/** What `tell` gives no problem for fails as it does. */
export async function* tarFrames(
  tar: AsyncIterable<Uint8Array>,
  tell: (error: unknown) => ProblemBody | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of tar) {
      if (chunk.length === 0) continue
      yield lengthOf(chunk.length)
      yield chunk
    }
  } catch (error) {
    const problem = tell(error)
    if (problem === undefined) throw error
    yield end({ problem })
    return
  }
  yield end({})
}

function end(told: { problem?: ProblemBody }): Uint8Array {
  return Buffer.concat([lengthOf(0), Buffer.from(JSON.stringify(told))])
}

function lengthOf(bytes: number): Buffer {
  const head = Buffer.allocUnsafe(4)
  head.writeUInt32BE(bytes)
  return head
}
