/** One operation of the API, typed by its document, repeated while the daemon restarts. */
import type { IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { fromProblem, MusterError } from './errors.ts'
import { type Operations, operations } from './generated/api.ts'
import { isFile, MEND_FILE, type Outgoing, type Transport } from './transport.ts'

export type OperationName = keyof Operations
type Given<T> = T extends undefined ? object : T
type Answer<K extends OperationName> = Operations[K]['answer']

export type CallInput<K extends OperationName> = {
  [P in 'params' | 'query' | 'body' as Operations[K][P] extends undefined | Uint8Array ? never : P]: Given<Operations[K][P]>
} & CallOptions

export interface CallOptions {
  signal?: AbortSignal
  headers?: Record<string, string>
  /** A body of bytes. */
  bytes?: Uint8Array
  /** A body of bytes that come piece by piece; asked for anew at each try. */
  stream?: () => AsyncIterable<Uint8Array>
  /** Both ways at once, and never repeated: what went there cannot be sent again. */
  duplex?: boolean
  silenceMs?: number
  headMs?: number
  /** Told once, and at once, when the connection ends before the answer has; the call is then repeated as ever. */
  onCut?: (error: MusterError) => void
}

export interface Caller {
  /** The JSON answer. */
  call<K extends OperationName>(name: K, input: CallInput<K>): Promise<Answer<K>>
  /** The answer with its body still to be read. */
  open<K extends OperationName>(name: K, input: CallInput<K>): Promise<IncomingMessage>
  /** Waits a moment, longer each time; throws `error` when the patience is used up or the signal aborts. `begun`: within an answer. */
  patience(signal?: AbortSignal): (error: unknown, begun?: 'begun') => Promise<void>
  readonly transport: Transport
}

/** An answer that does not stream: twice what a long poll takes. */
const SILENCE_MS = 120_000
/** A restart of a daemon takes about a second; a slow disk or a long migration is no reason to lose a run. */
const PATIENCE_MS = 60_000
const LONGEST_PAUSE_MS = 1000
/** A restart of a daemon cuts an answer once, a bad line perhaps twice; what is cut each time is cut by what is sent. */
const MOST_CUTS = 3
/** A daemon that is only busy for a moment is nothing to speak of. */
const TELL_AFTER_MS = 1000

/** What a dead or restarting daemon gives: nobody can have done the call, or a repeat is recognised. */
const passing = new Set(['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAGAIN'])
const passingCodes = new Set(['stopping', 'busy', 'rate-limited', 'store-unavailable', 'too-slow'])

export interface ConnectOptions {
  /** How long calls are repeated while the daemon is away, in milliseconds; default a minute. */
  patienceMs?: number
  /** Told once for each call that the daemon has put off for longer than a second, with what it said: why nothing happens. */
  onWait?: (problem: MusterError) => void
  /**
   * The W3C trace context that calls belong to, asked for at each call; undefined: none. With OpenTelemetry:
   * `() => { const carrier = {}; propagation.inject(context.active(), carrier); return carrier.traceparent }`.
   */
  traceparent?: () => string | undefined
}

export function createCaller(transport: Transport, options: ConnectOptions = {}): Caller {
  const patienceMs = options.patienceMs ?? PATIENCE_MS
  // Where nobody has ever answered and nobody listens, most likely no daemon runs: nothing to be patient for.
  let met = false

  function patience(signal?: AbortSignal): (error: unknown, begun?: 'begun') => Promise<void> {
    let until: number | undefined
    let waitMs = 25
    let cuts = 0
    let told = false
    return async (error, begun) => {
      signal?.throwIfAborted()
      const asked = error instanceof MusterError ? error.retryAfterMs : undefined
      if (!isPassing(error) || (!met && isAbsent(error))) throw explain(error, transport.name)
      if (begun !== undefined) cuts += 1
      until ??= performance.now() + patienceMs
      if (begun !== undefined && (cuts >= MOST_CUTS || performance.now() >= until)) throw cutOff(error, transport.name)
      if (performance.now() >= until) throw explain(error, transport.name)
      if (!told && error instanceof MusterError && performance.now() - (until - patienceMs) >= TELL_AFTER_MS) {
        told = true
        options.onWait?.(error)
      }
      await pause(Math.max(Math.min(asked ?? 0, 5000), waitMs * (0.5 + Math.random() / 2)), undefined, signal && { signal })
      waitMs = Math.min(waitMs * 2, LONGEST_PAUSE_MS)
    }
  }

  async function open<K extends OperationName>(name: K, input: CallInput<K>): Promise<IncomingMessage> {
    const again = patience(input.signal)
    for (;;) {
      try {
        const traceparent = options.traceparent?.()
        const headers = { ...(traceparent === undefined ? {} : { traceparent }), ...input.headers }
        const answer = await transport.send(requestOf(name, { ...input, headers }))
        met = true
        if ((answer.statusCode ?? 0) < 400) return answer
        throw ofToken(fromProblem(answer.statusCode ?? 0, await textOf(answer), answer.headers['retry-after']), transport)
      } catch (error) {
        if (input.duplex === true) throw explain(error, transport.name)
        if (met || !isAbsent(error)) tellCut(error, input)
        await again(error)
      }
    }
  }

  function tellCut(error: unknown, { onCut }: CallOptions): void {
    if (onCut === undefined || error instanceof MusterError || !isPassing(error)) return
    const message = `the connection to ${transport.name} ended before the answer: ${(error as Error).message}`
    onCut(new MusterError('unreachable', message, { cause: error }))
  }

  async function call<K extends OperationName>(name: K, given: CallInput<K>): Promise<Answer<K>> {
    const input = tellingOnce(given)
    const again = patience(input.signal)
    for (;;) {
      const answer = await open(name, input)
      let text: string
      try {
        text = await textOf(answer)
      } catch (error) {
        tellCut(error, input)
        await again(error, 'begun')
        continue
      }
      if (answer.statusCode === 204) return undefined
      try {
        return JSON.parse(text) as Answer<K>
      } catch (cause) {
        throw new MusterError('protocol', 'the answer is not JSON', { cause })
      }
    }
  }

  return { call, open, patience, transport }
}

function tellingOnce<I extends CallOptions>(input: I): I {
  const { onCut } = input
  if (onCut === undefined) return input
  let told = false
  return {
    ...input,
    onCut: (error: MusterError) => {
      if (!told) onCut(error)
      told = true
    },
  }
}

function requestOf<K extends OperationName>(name: K, input: CallInput<K>): Outgoing {
  const { params = {}, query = {}, body } = input as { params?: object; query?: object; body?: unknown }
  const { method, path } = operations[name]
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, key: string) =>
    encodeURIComponent(String((params as Record<string, unknown>)[key])),
  )
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query))
    for (const one of [value as string | number | string[] | undefined].flat())
      if (one !== undefined) search.append(key, String(one))
  return {
    method,
    path: search.size === 0 ? filled : `${filled}?${search.toString()}`,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...input.headers },
    silenceMs: input.silenceMs ?? SILENCE_MS,
    ...(input.headMs === undefined ? {} : { headMs: input.headMs }),
    ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)) }),
    ...(input.bytes === undefined ? {} : { body: input.bytes }),
    ...(input.stream === undefined ? {} : { body: input.stream() }),
    ...(input.duplex === undefined ? {} : { duplex: input.duplex }),
    ...(input.signal === undefined ? {} : { signal: input.signal }),
  }
}

/** A token that is refused is found by where it was read. */
function ofToken(error: MusterError, { tokenFrom }: Transport): MusterError {
  if (error.code !== 'unauthorized' || tokenFrom === undefined) return error
  const { status, problem, hint } = error
  return new MusterError('unauthorized', error.message.replace(/^the token /, `the token in ${tokenFrom} `), {
    ...(status === undefined ? {} : { status }),
    ...(problem === undefined ? {} : { problem }),
    ...(isFile(tokenFrom) ? { hint: MEND_FILE } : hint === undefined ? {} : { hint }),
  })
}

/** The daemon is away, or about to be; the same call may succeed in a moment. */
function isPassing(error: unknown): boolean {
  if (error instanceof MusterError) return passingCodes.has(error.code)
  if (!(error instanceof Error)) return false
  return passing.has((error as NodeJS.ErrnoException).code ?? '') || error.message.startsWith('the server was silent')
}

/** Nobody listens there. */
function isAbsent(error: unknown): boolean {
  return ['ECONNREFUSED', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')
}

function explain(error: unknown, where: string): unknown {
  if (error instanceof MusterError || !(error instanceof Error)) return error
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'EACCES')
    return new MusterError('unreachable', `you may not open ${where}`, {
      hint: 'Where it is of another user: use the address of the daemon and a token, MUSTER_URL and MUSTER_TOKEN. Where it is yours: see to its permissions (`ls -l`).',
      cause: error,
    })
  const doubt = certificateDoubt(code ?? '')
  if (doubt !== undefined)
    return new MusterError('unreachable', `${where} cannot be trusted: ${doubt.fact}`, { hint: doubt.mend, cause: error })
  if (code === 'EPROTO')
    return new MusterError('unreachable', `${where} speaks no TLS: ${error.message}`, {
      hint: 'If the daemon listens in clear there, its address begins with http://.',
      cause: error,
    })
  if (isPassing(error) || code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'EHOSTUNREACH')
    return new MusterError('unreachable', `no daemon answers at ${where}: ${error.message}`, {
      hint: code === 'ECONNRESET' ? CUT_HINT : 'Start it with `muster up`.',
      cause: error,
    })
  return error
}

/** Somebody listens there, and ends each connection without a word. */
const CUT_HINT = 'If the daemon listens with TLS, its address begins with https://; else its log says why.'

/** What Node's TLS says of a certificate that it does not take; undefined: something else. */
function certificateDoubt(code: string): { fact: string; mend: string } | undefined {
  const unknown = 'Name the file of the authority that signed it, or of the certificate itself, in MUSTER_CA.'
  switch (code) {
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return { fact: 'its certificate is signed by nobody who is known here', mend: unknown }
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return { fact: 'who signed its certificate is not known here', mend: unknown }
    case 'CERT_HAS_EXPIRED':
      return { fact: 'its certificate has expired', mend: 'Give the daemon a new one: it reads its files again by itself.' }
    case 'CERT_NOT_YET_VALID':
      return { fact: 'its certificate is not valid yet', mend: 'Compare the clocks of both machines.' }
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return {
        fact: 'its certificate is for other names than the one in this address',
        mend: 'Use a name of the certificate in MUSTER_URL, or give the daemon one with this name.',
      }
    default:
      return undefined
  }
}

/** Somebody is there, and did not come to the end of what they said. */
function cutOff(error: unknown, where: string): unknown {
  if (error instanceof MusterError || !(error instanceof Error)) return error
  return new MusterError('unreachable', `what ${where} sent was cut off before its end, each time: ${error.message}`, {
    hint: 'Either the connection breaks, or the daemon could not read on: then its log says why.',
    cause: error,
  })
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  // Cut off: what came is not the answer.
  if (!answer.complete) throw Object.assign(new Error('the connection was cut off'), { code: 'ECONNRESET' })
  return Buffer.concat(chunks).toString()
}
