/** An engine's streams of JSON values, one a line. */
import { StringDecoder } from 'node:string_decoder'
import { toFailure } from '../client.ts'
import { EngineFailure } from '../errors.ts'

/** An event carries a container's labels; more than this is no line. */
const MAX_LINE_CHARS = 4 * 1024 * 1024

export async function* jsonLines<T>(reply: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  try {
    for await (const chunk of reply) {
      const lines = (rest + decoder.write(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line.trim() !== '') yield parse(line) as T
      if (rest.length > MAX_LINE_CHARS) throw new EngineFailure('a line without end', { sent: true })
    }
  } catch (error) {
    throw toFailure(error)
  }
  if (rest.trim() !== '') yield parse(rest) as T
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new EngineFailure('a line is not JSON', { sent: true, cause: error })
  }
}
