/** One HTTP exchange with an API server: as whom, in whose turn, until when, and what a bad answer is. Nothing else here speaks HTTP. */
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { createAgents } from './agent.ts'
import type { Bucket } from './bucket.ts'
import { ApiFailure, isStatus, refusal, toFailure } from './failure.ts'
import type { Method } from './calls.ts'
import type { Identities, Identity } from './identity.ts'
import { abortReason } from '@muster/provider-parts/waiting'

export type QueryValue = string | number | boolean | readonly string[] | undefined

export interface ApiRequest {
  method: Method
  path: string
  query?: Readonly<Record<string, QueryValue>>
  body?: unknown
  contentType?: string
  signal: AbortSignal
  /** Until the answer begins and, of a whole one, has ended; default 30 s. */
  timeoutMs?: number
  /** A larger answer is `TOO_LARGE`. */
  maxBytes?: number
}

export interface Transport {
  /** Answers once the head is there; the body is the caller's to read, or to destroy. Rejects with an ApiFailure for any status but 2xx. */
  open(request: ApiRequest): Promise<IncomingMessage>
  /** The whole answer, as JSON. */
  json<T>(request: ApiRequest): Promise<T>
  /** Runs `dial` as {@link open} does a request: in its turn, and once more with fresh credentials when the first were refused. */
  dial<T>(signal: AbortSignal, dial: (way: Way) => Promise<T>): Promise<T>
  /** The API server's clock, in milliseconds since 1970, as its last answer told it: its times are not compared with another one's. */
  now(): number
  /** The namespace of the context. */
  namespace(signal: AbortSignal): Promise<string | undefined>
  close(): void
}

/** What a connection of another protocol needs. */
export interface Way {
  server: URL
  options: Pick<RequestOptions, 'agent' | 'headers'>
}

/** API servers give up on what is no stream after 60 s; half of it leaves time for another try within most calls. */
const TIMEOUT_MS = 30_000
/** All pods of a namespace that is not asked for in pages: 5,000 of 10 KB each. */
const MAX_BODY = 64 * 1024 * 1024
/** A Status is a few KB; what a proxy says instead is shown by its begin. */
const MAX_REFUSAL = 256 * 1024
/** A server that says when to come again, within less than that, is waited for; else whoever asked decides. */
const PATIENCE_MS = 5_000

export interface TransportParts {
  identities: Identities
  bucket: Bucket
  /** Told to servers; audit logs show it. */
  userAgent?: string
  maxBody?: number
}

export function createTransport(parts: TransportParts): Transport {
  const { identities, bucket, userAgent = 'muster-plugin-kubernetes', maxBody = MAX_BODY } = parts
  const agents = createAgents()
  /** How far the server is ahead of us. */
  let aheadMs = 0
  return {
    open: (request) => withTimeout(request, (bounded) => opened(bounded)),
    json: (request) =>
      withTimeout(
        request,
        async (bounded) => parse(await readWhole(await opened(bounded), Math.min(request.maxBytes ?? maxBody, maxBody))) as never,
      ),
    async dial(signal, dial) {
      return asked(signal, async (identity) => {
        const options = { agent: await agents.single(identity), headers: { ...identity.headers, 'User-Agent': userAgent } }
        return dial({ server: identity.server, options })
      })
    },
    now: () => Date.now() + aheadMs,
    namespace: async (signal) => (await identities.current(signal)).namespace,
    close: () => agents.close(),
  }

  /** A kept connection may have been closed by the server just now: what changes nothing is asked once more, on a new one. */
  async function opened(request: ApiRequest): Promise<IncomingMessage> {
    return asked(request.signal, async (identity) => {
      const exchange = async (): Promise<IncomingMessage> => send(identity, request)
      try {
        return await exchange()
      } catch (error) {
        if (request.method !== 'GET' || !(error instanceof StaleConnection)) throw error
        agents.dropIdle()
        return exchange()
      }
    })
  }

  async function asked<T>(signal: AbortSignal, ask: (identity: Identity) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      await bucket.take(signal, PATIENCE_MS)
      const identity = await identities.current(signal)
      try {
        return await ask(identity)
      } catch (error) {
        if (isStatus(error, 429)) bucket.hold((error as ApiFailure).retryAfterMs ?? 1_000)
        if (!isStatus(error, 401) || attempt > 1) throw error
        identities.refuse(identity)
      }
    }
  }

  async function send(identity: Identity, request: ApiRequest): Promise<IncomingMessage> {
    const agent = await agents.of(identity)
    const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body))
    const headers = {
      ...identity.headers,
      'User-Agent': userAgent,
      Accept: 'application/json',
      ...(body === undefined
        ? {}
        : { 'Content-Type': request.contentType ?? 'application/json', 'Content-Length': String(body.length) }),
    }
    const answer = await begin(urlOf(identity.server, request), { method: request.method, headers, agent }, { request, body })
    const status = answer.statusCode ?? 0
    const told = Date.parse(answer.headers.date ?? '')
    if (!Number.isNaN(told)) aheadMs = told - Date.now()
    if (status >= 200 && status < 300) return answer
    // A redirect is no answer of an API server: to follow it would carry the token elsewhere.
    const said = await readWhole(answer, MAX_REFUSAL).catch(() => '')
    throw refusal({ status, retryAfter: answer.headers['retry-after'], body: said })
  }
}

/** The server closed a kept connection before it answered. */
class StaleConnection extends ApiFailure {}

function begin(
  url: URL,
  options: RequestOptions,
  { request, body }: { request: ApiRequest; body: Buffer | undefined },
): Promise<IncomingMessage> {
  const { signal } = request
  return new Promise((resolve, reject) => {
    // Not by `import`, which reads all names of the module: some of them load the whole of Node's fetch.
    const http = process.getBuiltinModule(url.protocol === 'https:' ? 'node:https' : 'node:http')
    const asking = http.request(url, { ...options, signal })
    const sent = watchSent(asking)
    asking.on('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(abortReason(signal))
      else {
        const Kind = asking.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '') ? StaleConnection : ApiFailure
        reject(new Kind(error.message, { ...(error.code === undefined ? {} : { code: error.code }), sent: sent(), cause: error }))
      }
    })
    asking.once('response', resolve)
    asking.end(body)
  })
}

/** Could anything of the request have reached the server? Not before the connection, with its TLS, was there. */
function watchSent(asking: ClientRequest): () => boolean {
  let sent = false
  asking.once('socket', (socket) => {
    const secure = socket as Partial<TLSSocket> & { secureConnecting?: boolean }
    if (!socket.connecting && secure.secureConnecting !== true) sent = true
    else socket.once(secure.encrypted === true ? 'secureConnect' : 'connect', () => (sent = true))
  })
  return () => sent
}

/** Ends `work` with a failure once its time is over; the time stops with it, so that a stream may go on. */
async function withTimeout<T>(request: ApiRequest, work: (bounded: ApiRequest) => Promise<T>): Promise<T> {
  const { timeoutMs = TIMEOUT_MS } = request
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), timeoutMs)
  try {
    return await work({ ...request, signal: AbortSignal.any([request.signal, late.signal]) })
  } catch (error) {
    if (!late.signal.aborted || request.signal.aborted) throw error
    throw new ApiFailure(`no answer within ${timeoutMs / 1000} s`, { code: 'ETIMEDOUT', sent: true, cause: error })
  } finally {
    clearTimeout(timer)
  }
}

async function readWhole(answer: IncomingMessage, most: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of answer) {
      size += (chunk as Buffer).length
      if (size > most) throw new ApiFailure(`an answer of more than ${most} bytes`, { code: 'TOO_LARGE', sent: true })
      chunks.push(chunk as Buffer)
    }
  } catch (error) {
    answer.destroy()
    throw toFailure(error)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ApiFailure('an answer that is not JSON', { code: 'BAD_ANSWER', sent: true, cause: error })
  }
}

/** The address of a request; a server may have a path of its own, as behind a gateway. */
export function urlOf(server: URL, { path, query = {} }: Pick<ApiRequest, 'path' | 'query'>): URL {
  const url = new URL(server)
  url.pathname = server.pathname.replace(/\/$/, '') + path
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value]) url.searchParams.append(key, String(one))
  }
  return url
}
