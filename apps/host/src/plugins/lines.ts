/** What a plugin writes, line by line: first cleaned, then cut. */
import type { Readable } from 'node:stream'
import { surelyKnown } from './redactor.ts'

/** Enough for a message. */
const mostShown = 4096
/** A plugin that floods its output costs no more memory. Longer than what is shown, so that a secret is seen whole. */
const mostRead = 64 * 1024

export function readLines(stream: Readable, { clean, take }: { clean(text: string): string; take(line: string): void }): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n')
    // One more character tells that it is too long.
    rest = (parts.pop() ?? '').slice(0, mostRead + 1)
    for (const part of parts) give(part)
  })
  stream.on('end', () => give(rest))
  stream.on('error', () => undefined)

  function give(line: string): void {
    if (line === '') return
    const known = clean(line.slice(0, mostRead))
    // The beginning of a secret that was cut could stand at the end, and what is cleaned can be short.
    take((line.length > mostRead ? known.slice(0, -surelyKnown) : known).slice(0, mostShown))
  }
}
