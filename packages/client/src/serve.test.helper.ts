/** A server that answers as a test says, one handler a request. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

export interface TestServer extends AsyncDisposable {
  readonly url: string
  /** `GET /v1/pools`, as they came. */
  readonly asked: string[]
  readonly requests: IncomingMessage[]
  handle(handler: Handler): void
  /** Connections are refused until `back`. */
  away(): Promise<void>
  back(): Promise<void>
}

export async function startServer(first: Handler): Promise<TestServer> {
  let handler = first
  let port = 0
  let server: Server
  const asked: string[] = []
  const requests: IncomingMessage[] = []
  const listen = (): Promise<void> =>
    new Promise((resolve) => {
      server = createServer((request, response) => {
        asked.push(`${request.method ?? ''} ${request.url ?? ''}`)
        requests.push(request)
        void handler(request, response)
      })
      server.listen(port, '127.0.0.1', () => {
        ;({ port } = server.address() as AddressInfo)
        resolve()
      })
    })
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  await listen()
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    requests,
    handle: (next) => (handler = next),
    away: close,
    back: listen,
    [Symbol.asyncDispose]: close,
  }
}

export function json(
  response: ServerResponse,
  value: unknown,
  { status = 200, headers = {} }: { status?: number; headers?: Record<string, string> } = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(value))
}

export function problem(response: ServerResponse, status: number, body: { code: string; detail?: string; hint?: string }): void {
  json(
    response,
    { type: `urn:muster:problem:${body.code}`, title: body.code, status, detail: 'as the test says', ...body },
    { status },
  )
}

export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await request.toArray())
}
