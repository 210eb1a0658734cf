/** Bytes that come in pieces cut anywhere, as lines of text. */
import { StringDecoder } from 'node:string_decoder'

/** A line longer than this is shown in parts: a job that prints no line end must not fill the memory. */
const LONGEST_LINE = 65_536

export interface Lines {
  push(data: Uint8Array): string[]
  /** What is left without a line end. */
  end(): string[]
}

/** UTF-8; bytes that are none become U+FFFD. A carriage return before the line end belongs to it. */
export function createLines(): Lines {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  const take = (text: string): string[] => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() ?? ''
    const whole = parts.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line))
    while (rest.length > LONGEST_LINE) {
      whole.push(rest.slice(0, LONGEST_LINE))
      rest = rest.slice(LONGEST_LINE)
    }
    return whole
  }
  return {
    push: (data) => take(decoder.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength))),
    end() {
      const whole = take(decoder.end())
      if (rest !== '') whole.push(rest)
      rest = ''
      return whole
    },
  }
}

/** The last lines of a job, for its failure. Both streams as they came. */
export function createTail(most: number): { push(stream: 'stdout' | 'stderr', data: Uint8Array): void; lines(): string[] } {
  const streams = { stdout: createLines(), stderr: createLines() }
  let kept: string[] = []
  const keep = (lines: readonly string[]): void => {
    if (lines.length > 0) kept = [...kept, ...lines].slice(-most)
  }
  return {
    push: (stream, data) => keep(streams[stream].push(data)),
    lines() {
      keep([...streams.stdout.end(), ...streams.stderr.end()])
      return kept
    },
  }
}
