/** An engine's socket behind another one that a test can listen at, and cut at any request. */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { tempFolder } from '@muster/test/systems/temp'

/** `before`: the engine has not heard of it; `during`: it has, and is at work; `after`: it has answered, nobody has heard it. */
export type Moment = 'before' | 'during' | 'after'

/** What becomes of one request between the two. */
export interface Tampering {
  /** Said instead of the engine, which has not heard of it. */
  unheard?: PlainAnswer
  /** Said instead of what the engine has answered. */
  misheard?: PlainAnswer
  /** The body as the plugin gets it; a failure in it breaks the connection. */
  body?(answer: AsyncIterable<Buffer>): AsyncIterable<Buffer>
}

export interface PlainAnswer {
  status: number
  text: string
}

export interface EngineProxy {
  readonly socket: string
  /** Requests so far, as `POST /containers/create`, without version and query. */
  readonly requests: string[]
  /** Called at each moment of each request; while it is pending, the request stands still. */
  at: (moment: Moment, index: number) => void | Promise<void>
  /** Asked for each request, as it stands in `requests`; undefined: it goes through. */
  tamper: (request: string) => Tampering | undefined
  stop(): Promise<void>
}

/** As a proxy or a broken engine speaks: no JSON. */
function say(reply: ServerResponse, { status, text }: PlainAnswer): void {
  reply.writeHead(status, { 'content-type': 'text/plain' }).end(text)
}

/** Passes so many bytes on and breaks off. */
export function cutAfter(bytes: number): NonNullable<Tampering['body']> {
  return async function* (answer) {
    let left = bytes
    for await (const chunk of answer) {
      yield chunk.subarray(0, left)
      left -= chunk.length
      if (left <= 0) throw new Error('the connection breaks')
    }
  }
}

export async function startEngineProxy(engine: string): Promise<EngineProxy> {
  const folder = await tempFolder('proxy')
  const proxy: EngineProxy = {
    socket: join(folder.path, 'engine.sock'),
    requests: [],
    at: () => {},
    tamper: () => undefined,
    async stop() {
      // Upgraded connections are no longer the server's own, and it would wait for them.
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await folder.remove()
    },
  }
  const note = ({ method, url = '' }: IncomingMessage): number =>
    proxy.requests.push(
      `${method} ${url
        .replace(/^\/v[\d.]+/, '')
        .replace(/\?.*$/, '')
        .replace(/muster-w\w+/, 'ID')}`,
    ) - 1

  async function forward(incoming: IncomingMessage, reply: ServerResponse): Promise<void> {
    const index = note(incoming)
    await proxy.at('before', index)
    if (incoming.destroyed && !incoming.complete) return
    const tampering = proxy.tamper(proxy.requests[index] ?? '') ?? {}
    if (tampering.unheard !== undefined) {
      incoming.resume()
      return say(reply, tampering.unheard)
    }
    const { method, url: path, headers } = incoming
    const outgoing = request({ socketPath: engine, method, path, headers, agent: false })
    const gone = (): void => void outgoing.destroy()
    reply.on('close', gone)
    outgoing.on('error', () => reply.destroy())
    outgoing.on('response', (answer) => void relay(answer, { reply, index, tampering }))
    incoming.pipe(outgoing)
    incoming.on('end', () => void proxy.at('during', index))
  }

  async function relay(
    answer: IncomingMessage,
    { reply, index, tampering }: { reply: ServerResponse; index: number; tampering: Tampering },
  ): Promise<void> {
    answer.on('error', () => reply.destroy())
    await proxy.at('after', index)
    if (reply.destroyed) return
    if (tampering.misheard !== undefined) {
      answer.resume()
      return say(reply, tampering.misheard)
    }
    reply.writeHead(answer.statusCode ?? 0, answer.headers)
    reply.flushHeaders()
    if (tampering.body === undefined) return void answer.pipe(reply)
    await pipeline(Readable.from(tampering.body(answer), { objectMode: false }), reply).catch(() => reply.destroy())
  }

  const server = createServer((incoming, reply) => void forward(incoming, reply))
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    note(incoming)
    const outgoing = connect(engine)
    const lines = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${String(value)}`)
    outgoing.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    // The body of the request comes by the request; what follows it, by the socket.
    incoming.pipe(outgoing, { end: false })
    incoming.on('end', () => {
      outgoing.write(head)
      socket.pipe(outgoing)
    })
    // A client that dies in the middle of its request is read by nobody, and its end must reach the engine all the same.
    incoming.on('close', () => {
      if (!incoming.complete || socket.destroyed) outgoing.destroy()
    })
    socket.on('close', () => outgoing.destroy())
    outgoing.pipe(socket)
    socket.on('error', () => outgoing.destroy())
    outgoing.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(proxy.socket, resolve))
  return proxy
}
