/** Free TCP ports on the loopback address. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'

/**
 * A port of 127.0.0.1 that nobody listens on now.
 *
 * Somebody else may take it before you do: let a server bind port 0 and say its port wherever it can, and use this
 * only where it cannot.
 */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Whether something accepts TCP connections at a port of 127.0.0.1. */
export async function portAnswers(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
