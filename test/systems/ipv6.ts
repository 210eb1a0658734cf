/** Whether this machine has the loopback of IPv6. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Presence } from './presence.ts'

/** Looked for by listening there: kernels without IPv6, and ones in which it is switched off, both refuse. */
export async function findIpv6(): Promise<Presence<{ host: string }>> {
  const server = createServer()
  try {
    server.listen(0, '::1')
    await once(server, 'listening')
    return { name: 'ipv6', system: { host: '::1' } }
  } catch (error) {
    return { name: 'ipv6', absent: `nobody can listen on ::1: ${(error as NodeJS.ErrnoException).code ?? 'refused'}` }
  } finally {
    server.close()
  }
}
