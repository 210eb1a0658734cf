/** An API server for tests that does exactly what it is told, also what no API server should. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { waitFor } from '@muster/test/systems/wait'
import { createBucket } from './bucket.ts'
import type { FailureCause } from './failure.ts'
import { createIdentities } from './identity.ts'
import { createRequests, type Requests } from './requests.ts'
import { createTransport, type Transport } from './transport.ts'

export type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => void

export interface TestServer {
  url: string
  /** Method, path and query of each request, in their order. */
  seen: string[]
  /** What came with each of them, as it came to its end; empty with most. */
  bodies: string[]
  /** Tokens that came. */
  tokens: (string | undefined)[]
  transport: Transport
  requests: Requests
  /** Answers upgrades; without it they are closed. */
  onUpgrade(handle: (request: IncomingMessage, socket: Duplex, head: Buffer) => void): void
  [Symbol.asyncDispose](): Promise<void>
}

export interface ServerOptions {
  text?: (url: string) => Promise<string>
  maxBody?: number
  pageBytes?: number
}

/** Answers the requests one after the other; the last answer stands for all that follow. */
export async function startServer(answers: readonly Answer[], options: ServerOptions = {}): Promise<TestServer> {
  const { text = async (url) => kubeconfig(url, { token: 'secret' }), maxBody, pageBytes } = options
  const seen: string[] = []
  const bodies: string[] = []
  const tokens: (string | undefined)[] = []
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://server')
    const answer = answers[Math.min(seen.length, answers.length - 1)]
    seen.push(`${request.method} ${request.url}`)
    tokens.push(request.headers.authorization)
    request.on('error', () => {})
    response.on('error', () => {})
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => void (body += part))
    request.once('end', () => {
      bodies.push(body)
      answer?.(request, response, url)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const identities = createIdentities({ from: 'text', text: () => text(url) })
  const bucket = createBucket({ rate: 1000, burst: 1000 })
  const transport = createTransport({ identities, bucket, ...(maxBody === undefined ? {} : { maxBody }) })
  return {
    url,
    seen,
    bodies,
    tokens,
    transport,
    requests: createRequests(transport, pageBytes === undefined ? {} : { pageBytes }),
    onUpgrade: (handle) => void server.on('upgrade', handle),
    async [Symbol.asyncDispose]() {
      transport.close()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

export function kubeconfig(server: string, user: object, cluster: object = {}): string {
  return JSON.stringify({
    clusters: [{ name: 'c', cluster: { server, ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'team' } }],
    'current-context': 'x',
  })
}

export interface Refusal {
  reason?: string
  message?: string
  retryAfter?: number
  causes?: readonly FailureCause[]
}

export function json(body: unknown): Answer {
  return (_, response) => void response.setHeader('Content-Type', 'application/json').end(JSON.stringify(body))
}

export function refuse(code: number, more: Refusal = {}): Answer {
  const { causes, ...words } = more
  return (_, response) => {
    if (more.retryAfter !== undefined) response.setHeader('Retry-After', String(more.retryAfter))
    response.writeHead(code).end(JSON.stringify({ kind: 'Status', code, message: 'no', details: { causes }, ...words }))
  }
}

export const drop: Answer = (request) => void request.socket.destroy()
export const hang: Answer = () => {}

/** A watch or a log: the chunks one by one, then the end that is named. */
export function stream(chunks: readonly string[], end: 'end' | 'drop' | 'hang'): Answer {
  const write = async (response: ServerResponse): Promise<void> => {
    response.writeHead(200)
    response.flushHeaders()
    for (const chunk of chunks) {
      response.write(chunk)
      // Each is a packet of its own.
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (end === 'end') response.end()
    if (end === 'drop') response.socket?.destroy()
  }
  return (_, response) => void write(response)
}

/** Waits until the expectation holds. */
export async function seen(expectation: () => void): Promise<void> {
  await waitFor('what is expected', () => {
    expectation()
    return true
  })
}
