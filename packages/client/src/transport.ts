/** HTTP over TCP or a unix socket: one request, one answer whose body is read as fast as its reader takes it. */
import * as http from 'node:http'
import * as https from 'node:https'
import { getCACertificates } from 'node:tls'
import { MusterError } from './errors.ts'

/**
 * Where a daemon is: a URL with a token (`ca`: PEM of who signed its certificate, besides the usual ones), or its unix socket. `tokenFrom`: the variable
 * or the file that the token was read from, for messages.
 */
export type Address = { tokenFrom?: string; token?: string } & ({ url: string; ca?: string } | { socket: string })

export interface Outgoing {
  method: string
  /** With query. */
  path: string
  headers?: Record<string, string>
  body?: Uint8Array | AsyncIterable<Uint8Array>
  /** The body goes on after the answer has begun. */
  duplex?: boolean
  signal?: AbortSignal
  /** Longest silence of the server, in milliseconds; also within the body. */
  silenceMs: number
  /** In which the answer must have begun. Default: as any silence. */
  headMs?: number
}

export interface Transport {
  send(request: Outgoing): Promise<http.IncomingMessage>
  close(): void
  /** For messages. */
  readonly name: string
  /** Likewise; absent: nobody knows. */
  readonly tokenFrom?: string
}

export function openTransport(address: Address): Transport {
  const target = targetOf(address)
  const { module } = target
  const agent = new module.Agent({ keepAlive: true, ...target.trust })
  const auth = address.token === undefined ? {} : { authorization: `Bearer ${checked(address.token, address.tokenFrom)}` }
  return {
    name: target.name,
    ...(address.tokenFrom === undefined ? {} : { tokenFrom: address.tokenFrom }),
    close: () => agent.destroy(),
    send: (request) =>
      new Promise((resolve, reject) => {
        request.signal?.throwIfAborted()
        const outgoing = module.request({
          ...target.options,
          agent,
          method: request.method,
          path: `${target.base}${request.path}`,
          headers: { accept: 'application/json', ...auth, ...lengthOf(request.body), ...request.headers },
        })
        const abort = (): void => void outgoing.destroy(asError(request.signal?.reason))
        request.signal?.addEventListener('abort', abort, { once: true })
        outgoing.once('close', () => request.signal?.removeEventListener('abort', abort))
        // Of the socket, so that it counts while the body is read as well.
        const silent = (ms: number): unknown => outgoing.destroy(new Error(`the server was silent for ${ms} ms`))
        const { silenceMs, headMs = silenceMs } = request
        outgoing.setTimeout(silenceMs, () => silent(silenceMs))
        const head = headMs < silenceMs ? setTimeout(() => silent(headMs), headMs) : undefined
        outgoing.once('close', () => clearTimeout(head))
        outgoing.once('response', (answer) => {
          clearTimeout(head)
          // Without a listener the end of a cut connection would end the process.
          answer.on('error', () => undefined)
          resolve(answer)
        })
        outgoing.once('error', reject)
        void sendBody(outgoing, request).catch((error: unknown) => outgoing.destroy(asError(error)))
      }),
  }
}

/** Node would refuse the header with a fault of ours. The token itself is in no message. */
function checked(token: string, from?: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token
  const which = from === undefined ? 'the token' : `the token in ${from}`
  throw new MusterError('local', `${which} holds a newline, a blank or another character that no token has`, {
    hint: isFile(from) ? mendFile(from) : 'Set MUSTER_TOKEN to the token alone, as it was printed.',
  })
}

/** What can be done about a file whose token is worth nothing. */
export function mendFile(file: string): string {
  return `Remove ${file}, and set MUSTER_URL and MUSTER_TOKEN to the daemon's address and a token that an admin makes; without any, name a short host.socket.path: who may open that socket is an admin.`
}

/** A path, and no variable. */
export function isFile(tokenFrom: string | undefined): tokenFrom is string {
  return tokenFrom?.includes('/') === true
}

interface Target {
  name: string
  module: typeof http | typeof https
  options: http.RequestOptions
  base: string
  trust: { ca?: string[] }
}

function targetOf(address: Address): Target {
  if ('socket' in address)
    return { name: address.socket, module: http, options: { socketPath: address.socket, host: 'localhost' }, base: '', trust: {} }
  const url = URL.parse(address.url)
  // Never said back: it may be a token that was put in the wrong place, and what is told ends in logs of builds.
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new MusterError('unreachable', 'the address is no URL of a daemon', { hint: 'Write http://127.0.0.1:7420.' })
  if (`${url.username}${url.password}${url.search}${url.hash}` !== '')
    throw new MusterError('unreachable', 'the address holds a name, a password, a query or a fragment, which no daemon takes', {
      hint: 'Write it as http://127.0.0.1:7420, and put the token into MUSTER_TOKEN.',
    })
  return {
    name: address.url,
    module: url.protocol === 'https:' ? https : http,
    options: { hostname: url.hostname.replace(/^\[|\]$/g, ''), ...(url.port === '' ? {} : { port: url.port }) },
    base: url.pathname.replace(/\/$/, ''),
    trust: address.ca === undefined ? {} : { ca: [...getCACertificates('default'), address.ca] },
  }
}

/** Bodies that are read piece by piece have no length that is known before. */
function lengthOf(body: Outgoing['body']): Record<string, string> {
  return body instanceof Uint8Array ? { 'content-length': String(body.length) } : {}
}

async function sendBody(outgoing: http.ClientRequest, { body, duplex }: Outgoing): Promise<void> {
  if (body === undefined || body instanceof Uint8Array) {
    outgoing.end(body)
    return
  }
  // Node would keep the head until there is a body, and the other end may be the one that speaks first.
  if (duplex === true) outgoing.flushHeaders()
  // An answer may come before the body's end (an input that is too large): then nobody wants the rest. So is a refusal of both ways.
  let wanted = true
  outgoing.once('response', ({ statusCode = 0 }: http.IncomingMessage) => (wanted = duplex === true && statusCode < 400))
  outgoing.once('close', () => (wanted = false))
  for await (const chunk of body) {
    if (!wanted) return
    if (!outgoing.write(chunk)) await drained(outgoing)
  }
  outgoing.end()
}

function drained(outgoing: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close', 'response']) outgoing.removeListener(event, done)
      resolve()
    }
    for (const event of ['drain', 'close', 'response']) outgoing.once(event, done)
  })
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
