/** A tar whose end is told: `application/vnd.muster.tar`, as the API describes it. */
import type { IncomingMessage } from 'node:http'
import { fromProblem, MusterError } from './errors.ts'
import type { Problem } from './generated/api.ts'

const FRAMED_TYPE = 'application/vnd.muster.tar'
/** Of a daemon from before it. */
export const acceptTar: string = `${FRAMED_TYPE}, application/x-tar;q=0.5`
/** The host never sends a larger one. */
const FRAME_BYTES = 1_048_576
/** A problem is a few sentences. */
const END_BYTES = 65_536

export interface ToldTar {
  tar: AsyncIterable<Uint8Array>
  /** Once the tar has ended: why it does not hold everything. */
  problem(): MusterError | undefined
}

export function toldTar(answer: IncomingMessage): ToldTar {
  if (answer.headers['content-type'] !== FRAMED_TYPE) return { tar: answer, problem: () => undefined }
  let problem: MusterError | undefined

  async function* tar(): AsyncGenerator<Uint8Array, void, undefined> {
    let rest: Buffer = Buffer.alloc(0)
    /** Bytes of the frame under way that are still to come. */
    let left = 0
    let last: Buffer[] | undefined
    let lastBytes = 0
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      while (rest.length > 0 && last === undefined) {
        if (left === 0) {
          if (rest.length < 4) break
          left = rest.readUInt32BE()
          rest = rest.subarray(4)
          if (left > FRAME_BYTES) throw new MusterError('protocol', 'the tar is not in the form of this API')
          if (left === 0) last = []
        } else {
          const part = rest.subarray(0, left)
          rest = rest.subarray(part.length)
          left -= part.length
          yield part
        }
      }
      if (last === undefined) continue
      lastBytes += rest.length
      if (lastBytes > END_BYTES) throw new MusterError('protocol', 'the tar ends in another form than that of this API')
      last.push(rest)
      rest = Buffer.alloc(0)
    }
    if (last === undefined) throw Object.assign(new Error('the tar was cut off'), { code: 'ECONNRESET' })
    problem = problemIn(Buffer.concat(last).toString())
  }

  return { tar: tar(), problem: () => problem }
}

function problemIn(text: string): MusterError | undefined {
  let end: { problem?: Problem }
  try {
    end = JSON.parse(text) as typeof end
  } catch (cause) {
    throw new MusterError('protocol', 'the tar ends in another form than that of this API', { cause })
  }
  return end.problem === undefined ? undefined : fromProblem(end.problem.status, JSON.stringify(end.problem), undefined)
}
