/** One connection into the worker: the script on its way in, the words that come back, and letting go of it. */
import { setTimeout as delay } from 'node:timers/promises'
import { ProviderError, toProviderError } from '../errors.ts'
import { type Channel, createChannel } from './channel.ts'
import type { RawExec } from './raw.ts'
import { createReader, quoted, type Reader } from './reader.ts'
import { runnerScript } from './script.ts'

/** How long the exit of a raw exec may come after the end of its output. */
const EXIT_MS = 500
/** A script that was asked to end does so within milliseconds. */
const CLOSE_MS = 1000

export interface Link {
  reader: Reader
  channel: Channel
  /** The raw exec's own exit code, if it comes within a moment. */
  exitCode(): Promise<number | undefined>
  /** Lets the script end, and cuts the raw exec if it does not. May be called again. */
  close(): void
}

/** Starts `argv` and sends the script. An abort fails the reader at once; the script still gets its moment to end. */
export async function openLink(
  raw: RawExec,
  { argv, signal, answerMs }: { argv: readonly string[]; signal: AbortSignal; answerMs: number },
): Promise<Link> {
  if (signal.aborted)
    throw new ProviderError('cancelled', 'nobody waits for this any more', { effect: 'none', cause: signal.reason })
  const own = new AbortController()
  const cut = (): void => own.abort(signal.reason)
  signal.addEventListener('abort', cut, { once: true })
  const channel = createChannel()
  channel.send(`${runnerScript}#.\n`)
  const session = await raw({ argv, stdin: channel, signal: own.signal })
    .catch((error: unknown) => {
      channel.end()
      throw signal.aborted ? toProviderError(signal.reason) : error
    })
    .finally(() => signal.removeEventListener('abort', cut))
  const reader = createReader(session, { signal, answerMs })

  let closed = false
  function close(): void {
    if (closed) return
    closed = true
    signal.removeEventListener('abort', close)
    // For a provider that cannot half-close; the script ends at both.
    channel.send('q\n')
    channel.end()
    const timer = setTimeout(() => own.abort(), CLOSE_MS)
    // A connection that dropped may still hold a process in the worker: only one that ended is done with.
    void Promise.all([reader.drain(), session.exit]).then(
      () => clearTimeout(timer),
      () => own.abort(),
    )
  }
  if (signal.aborted) close()
  else signal.addEventListener('abort', close, { once: true })

  async function exitCode(): Promise<number | undefined> {
    const exit = session.exit.then(
      ({ code }) => code,
      () => undefined,
    )
    return await Promise.race([exit, delay(EXIT_MS, undefined, { ref: false })])
  }
  return { reader, channel, exitCode, close }
}

/** With this begins what runc and its like say, by way of Docker and containerd, of a program that they did not begin. */
const OCI_REFUSAL = 'OCI runtime exec failed: '

/** The words of the next `muster 1 …` line. */
export async function readWords({ reader }: Link): Promise<string[]> {
  const line = await reader.line()
  const [name, version, ...rest] = line.split(' ')
  if (name === 'muster' && version === '1') return rest
  // What an engine says of a command that it could not begin comes this way, where the script would have answered.
  throw new ProviderError('transient', `the worker sent something else than the protocol${quoted(`${line} ${reader.noise()}`)}`, {
    ...(line.startsWith(OCI_REFUSAL) ? { effect: 'none' } : {}),
  })
}

/** The first line of a connection: tells a worker without a shell from one that was lost. */
export async function greet(link: Link): Promise<string[]> {
  const first = await readWords(link).catch(async (error: unknown) => {
    const code = await link.exitCode()
    if (code !== 126 && code !== 127) throw error
    throw new ProviderError('unsupported', 'the worker has no shell, and a command that survives needs one', {
      effect: 'none',
      cause: error,
    })
  })
  return accept(first)
}

/** Throws what a `bad` answer says. */
export function accept(answer: string[]): string[] {
  const [word, kind, ...text] = answer
  if (word !== 'bad') return answer
  throw new ProviderError(kind === 'tool' ? 'unsupported' : 'transient', `the worker cannot keep a command: ${text.join(' ')}`, {
    effect: 'none',
  })
}
