/** A small HTTP proxy on 127.0.0.1 that makes tunnels (CONNECT, RFC 9110 9.3.6), and remembers to where. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface ConnectProxy extends AsyncDisposable {
  /** With name and password where it wants them. */
  readonly url: string
  /** `host:port` of each tunnel that was made. */
  readonly tunnels: string[]
  /** Of those that it was asked for without the right password. */
  readonly refused: string[]
}

/** `password`: without it tunnels are refused with 407. */
export async function startProxy({ name = 'user', password }: { name?: string; password?: string } = {}): Promise<ConnectProxy> {
  const tunnels: string[] = []
  const refused: string[] = []
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    return socket
  }
  const wanted = password === undefined ? undefined : `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
  const server = createServer((_request, answer) => void answer.writeHead(405).end())
  server.on('connection', keep)
  server.on('connect', (request, client: Socket, head: Buffer) => {
    const target = request.url ?? ''
    if (wanted !== undefined && request.headers['proxy-authorization'] !== wanted) {
      refused.push(target)
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n')
      return
    }
    const { hostname, port } = new URL(`http://${target}`)
    const upstream = keep(
      connect(Number(port), hostname.replace(/^\[|\]$/g, ''), () => {
        tunnels.push(target)
        client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
        upstream.write(head)
        client.pipe(upstream).pipe(client)
      }),
    )
    upstream.once('close', () => client.destroy())
    client.once('close', () => upstream.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const who = password === undefined ? '' : `${encodeURIComponent(name)}:${encodeURIComponent(password)}@`
  return {
    url: `http://${who}127.0.0.1:${port}`,
    tunnels,
    refused,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
