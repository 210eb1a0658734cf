/** A TCP relay on 127.0.0.1 that ends what is idle, as load balancers and firewalls on the way to a server do. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** `cuts`: both ends are reset, as many load balancers do. `forgets`: nothing comes through any more, and nobody is told, as firewalls do. */
export type IdleEnd = 'cuts' | 'forgets'

export interface Relay extends AsyncDisposable {
  readonly port: number
  /** Connections so far. */
  opened(): number
  /** Of those, the ones that were ended since they were idle. */
  idle(): number
}

/** `idleMs`: without a byte in either direction for so long, a connection is idle. */
export async function startRelay(
  to: { host: string; port: number },
  { idleMs, end }: { idleMs: number; end: IdleEnd },
): Promise<Relay> {
  let opened = 0
  let idle = 0
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    return socket.on('error', () => socket.destroy())
  }
  const server = createServer((client) => {
    opened++
    const both = [keep(client), keep(connect(to))] as const
    const [near, far] = both
    let forgotten = false
    const timer = setTimeout(() => {
      idle++
      if (end === 'cuts') return both.forEach((socket) => socket.resetAndDestroy())
      forgotten = true
      near.unpipe()
      far.unpipe()
      // What comes still is taken, and lost.
      return both.forEach((socket) => socket.resume())
    }, idleMs)
    for (const [one, other] of [both, [far, near]] as const) {
      one.pipe(other)
      one.on('data', () => void (forgotten || timer.refresh()))
      one.once('close', () => {
        clearTimeout(timer)
        if (!forgotten) other.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    opened: () => opened,
    idle: () => idle,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
