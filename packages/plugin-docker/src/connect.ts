/** Ways to an engine that Node's agents do not know: TLS with secrets of the provider, and a tunnel by ssh. */
import { Agent } from 'node:http'
import { connect as connectTcp } from 'node:net'
import type { Duplex } from 'node:stream'
import { callbackify, inspect } from 'node:util'
import type { Endpoint } from './config.ts'
import type { Connector } from './connector.ts'
import { createSecrets, type SecretSource } from './current.ts'
import { sshConnector } from './ssh.ts'
import { tlsConnector } from './tls.ts'

export interface Way {
  agent: Agent
  reach: Connector['reach']
  close(): void
}

export function wayTo(endpoint: Endpoint): Way {
  const connector = connectorOf(endpoint, createSecrets())
  const agent = new Agent({ keepAlive: true })
  // The modem inspects its options, agent and sockets included, before every request, also when nobody looks at the result.
  Object.assign(agent, { [inspect.custom]: () => 'Agent' })
  if (connector === undefined) return { agent, reach: reachHere, close: () => agent.destroy() }
  const open = callbackify(() => connector.open())
  Object.assign(agent, {
    createConnection: (_options: unknown, done: (error: NodeJS.ErrnoException | null, connection: Duplex) => void): void =>
      open(done),
  })
  return {
    agent,
    reach: connector.reach,
    close() {
      agent.destroy()
      connector.close()
    },
  }
}

function connectorOf(endpoint: Endpoint, secret: SecretSource): Connector | undefined {
  if ('ssh' in endpoint) return sshConnector(endpoint, secret)
  return 'tls' in endpoint ? tlsConnector(endpoint, secret) : undefined
}

/** The engine is on this machine. */
function reachHere(host: string, port: number): Promise<Duplex> {
  const socket = connectTcp({ host, port, allowHalfOpen: true })
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>()
  socket.once('connect', () => resolve(socket))
  socket.once('error', reject)
  return promise
}
