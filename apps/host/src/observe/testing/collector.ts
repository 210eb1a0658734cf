/** A collector of traces that keeps what it is sent: OTLP over HTTP with JSON, on loopback. */
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline, Readable } from 'node:stream'

export interface CollectedSpan {
  name: string
  trace: string
  span: string
  parent: string
  /** OTLP's number: 1 internal, 2 server, 3 client. */
  kind: number
  failed: string | undefined
  ms: number
  facts: Record<string, unknown>
}

export interface CollectorOptions {
  /** PEM texts. */
  tls?: { cert: string; key: string }
  /** An address of loopback. */
  host?: string
}

export interface Collector extends AsyncDisposable {
  readonly url: string
  /** Whole, in the order they came. */
  spans(): CollectedSpan[]
  /** Bodies as they came. */
  text(): string
  headers(): IncomingHttpHeaders[]
  asked(): number
  /** From now on it answers so; `never`: not at all; `endless`: with a body that does not end. */
  answer(how: number | 'never' | 'endless'): void
}

interface Sent {
  resourceSpans: { scopeSpans: { spans: SentSpan[] }[] }[]
}
interface SentSpan {
  name: string
  traceId: string
  spanId: string
  parentSpanId?: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  status: { code?: number; message?: string }
  attributes: { key: string; value: Record<string, unknown> }[]
}

/** `tls`: over TLS, at another address of loopback than the usual one. */
export async function startCollector({ tls, host = '127.0.0.1' }: CollectorOptions = {}): Promise<Collector> {
  const bodies: string[] = []
  const headers: IncomingHttpHeaders[] = []
  let asked = 0
  let how: number | 'never' | 'endless' = 200
  const take: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked += 1
      if (how === 'never') return
      if (how === 'endless') return void pipeline(Readable.from(endless()), response.writeHead(400), () => undefined)
      if (how === 200 && request.url === '/v1/traces') {
        bodies.push(Buffer.concat(chunks).toString())
        headers.push(request.headers)
      }
      response.writeHead(how, { 'content-type': 'application/json' }).end('{}')
    })
  }
  const server = tls === undefined ? createServer(take) : createTlsServer(tls, take)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${host}:${(server.address() as AddressInfo).port}`,
    spans: () => bodies.flatMap(spansOf),
    text: () => bodies.join('\n'),
    headers: () => headers,
    asked: () => asked,
    answer: (next) => (how = next),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function spansOf(body: string): CollectedSpan[] {
  const sent = JSON.parse(body) as Sent
  return sent.resourceSpans
    .flatMap((one) => one.scopeSpans)
    .flatMap((one) => one.spans)
    .map((one) => ({
      name: one.name,
      trace: one.traceId,
      span: one.spanId,
      parent: one.parentSpanId ?? '',
      kind: one.kind,
      failed: one.status.code === 2 ? (one.status.message ?? '') : undefined,
      ms: Number((BigInt(one.endTimeUnixNano) - BigInt(one.startTimeUnixNano)) / 1_000_000n),
      facts: Object.fromEntries(one.attributes.map(({ key, value }) => [key, Object.values(value)[0]])),
    }))
}

function* endless(): Generator<Buffer> {
  for (const piece = Buffer.alloc(65_536, 'x'); ;) yield piece
}
