/** Reads one raw exec as lines and counted bytes, pull by pull: nothing is buffered beyond the chunk in hand. */
import { ProviderError, toProviderError } from '../errors.ts'
import type { RawChunk, RawExecSession } from './raw.ts'

/** A line of the protocol is a few numbers; the longest is a reason with a path in it. */
const LINE_LIMIT = 8192
/** Enough of standard error to see why the raw exec failed. */
const NOISE_LIMIT = 2048
/** Once the program's end is known its output may lag behind; after so long without a byte the connection counts as dead. */
const LAG_MS = 500
/** Largest chunk of the contract. */
const CHUNK_BYTES = 65_536

export interface Reader {
  /** The next line without its end. */
  line(): Promise<string>
  /** Exactly `count` bytes in chunks of at most 64 KiB. */
  bytes(count: number): AsyncGenerator<Uint8Array, void, undefined>
  /** Waits until somebody rings, anything arrives, or `ms` have passed. */
  idle(ms: number): Promise<void>
  /** Ends an {@link idle}, the next one if none is under way. The worker rings by writing to standard error. */
  ring(): void
  /** The beginning of what came over standard error, bells included. */
  noise(): string
  /** Stops all waiting with this error. */
  fail(error: ProviderError): void
  /** Reads on to the end, dropping everything. */
  drain(): Promise<void>
}

/** `answerMs`: a worker that owes an answer and sends nothing for so long is lost. */
export function createReader(session: RawExecSession, options: { signal: AbortSignal; answerMs: number }): Reader {
  const { signal, answerMs } = options
  const source = session.output[Symbol.asyncIterator]()
  let pending: Promise<void> | undefined
  let arrived: { result: IteratorResult<RawChunk> } | { error: unknown } | undefined
  let rest: Uint8Array = new Uint8Array(0)
  let rung = false
  let noise = ''
  let failure: ProviderError | undefined
  let patience = answerMs
  let reason: unknown = new DOMException('no answer in time', 'TimeoutError')
  let wake: (() => void) | undefined

  const fail = (error: ProviderError): void => {
    failure ??= error
    wake?.()
  }
  const ring = (): void => {
    rung = true
    wake?.()
  }
  const lost = (cause?: unknown): ProviderError =>
    new ProviderError('transient', `the connection into the worker was lost${quoted(noise)}`, {
      hint: 'attach again with the same id and the offsets stored so far',
      ...(cause === undefined ? {} : { cause }),
    })
  const gone = (cause?: unknown): void => {
    patience = LAG_MS
    reason = cause
    wake?.()
  }
  session.exit.then(() => gone(), gone)
  const aborted = (): void => fail(toProviderError(signal.reason))
  if (signal.aborted) aborted()
  else signal.addEventListener('abort', aborted, { once: true })

  function ask(): Promise<void> {
    pending ??= source.next().then(
      (result) => {
        arrived = { result }
        wake?.()
      },
      (error: unknown) => {
        arrived = { error }
        wake?.()
      },
    )
    return pending
  }

  /** Sleeps until something wakes it or `ms` have passed; throws the failure. */
  async function sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
      wake = resolve
      if (failure) resolve()
    })
    clearTimeout(timer)
    wake = undefined
    if (failure) throw failure
  }

  async function pull(): Promise<void> {
    const since = performance.now()
    void ask()
    while (!arrived) {
      const left = since + patience - performance.now()
      if (left <= 0) throw lost(reason)
      await sleep(left)
    }
    if (failure) throw failure
    const found = arrived
    arrived = pending = undefined
    if ('error' in found) throw lost(found.error)
    if (found.result.done === true) throw lost()
    const { stream, data } = found.result.value
    if (stream === 'stdout') rest = data
    else {
      rung = true
      if (noise.length < NOISE_LIMIT) noise += Buffer.from(data).toString('utf8').slice(0, NOISE_LIMIT)
    }
  }

  async function line(): Promise<string> {
    const parts: Uint8Array[] = []
    let length = 0
    for (;;) {
      while (rest.length === 0) await pull()
      const end = rest.indexOf(10)
      const part = end < 0 ? rest : rest.subarray(0, end)
      rest = end < 0 ? new Uint8Array(0) : rest.subarray(end + 1)
      parts.push(part)
      length += part.length
      if (end >= 0) return Buffer.concat(parts).toString('utf8')
      if (length > LINE_LIMIT) throw lost(new Error('the worker sent something else than the protocol'))
    }
  }

  async function* bytes(count: number): AsyncGenerator<Uint8Array, void, undefined> {
    let left = count
    while (left > 0) {
      while (rest.length === 0) await pull()
      const part = rest.subarray(0, Math.min(left, CHUNK_BYTES))
      rest = rest.subarray(part.length)
      left -= part.length
      yield part
    }
  }

  async function idle(ms: number): Promise<void> {
    const until = performance.now() + ms
    for (;;) {
      void ask()
      if (arrived) {
        await pull()
        continue
      }
      const left = until - performance.now()
      if (rung || rest.length > 0 || left <= 0) break
      await sleep(left)
    }
    rung = false
  }

  async function drain(): Promise<void> {
    signal.removeEventListener('abort', aborted)
    for (;;) {
      await ask()
      if (!arrived || 'error' in arrived || arrived.result.done === true) return
      arrived = pending = undefined
    }
  }

  return { line, bytes, idle, ring, noise: () => noise, fail, drain }
}

/** Enough for what an engine or a shell has to say, and short in a journal. */
const QUOTE_LIMIT = 500

/** Other people's words as the end of a message, in one line; nothing where they say nothing. */
export function quoted(text: string): string {
  const line = text
    .replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, QUOTE_LIMIT)
  return line === '' ? '' : `: ${line}`
}
