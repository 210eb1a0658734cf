/** A stream of bytes as lines, however it was cut. */
import { ApiFailure, toFailure } from './failure.ts'

export interface Line {
  bytes: Buffer
  /** False for the rest of a stream that ended without a newline. */
  whole: boolean
}

/** Splits at newlines, which are left out. Rejects, as the stream does, when it breaks: what came of a line until then is dropped. */
export async function* readLines(stream: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Line> {
  let rest: Buffer[] = []
  let held = 0
  try {
    for await (const chunk of stream) {
      let bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk)
      for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10)) {
        const head = bytes.subarray(0, at)
        bytes = bytes.subarray(at + 1)
        const line = held === 0 ? head : Buffer.concat([...rest, head])
        rest = []
        held = 0
        yield { bytes: line, whole: true }
      }
      if (bytes.length === 0) continue
      rest.push(bytes)
      held += bytes.length
      if (held > most) throw new ApiFailure('a line without end', { code: 'BAD_ANSWER', sent: true })
    }
  } catch (error) {
    throw toFailure(error)
  }
  if (held > 0) yield { bytes: Buffer.concat(rest), whole: false }
}
