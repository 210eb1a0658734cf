/** Ways to an engine that Node's agents do not know: TLS with secrets of the provider, and a tunnel by ssh. */
import type { Agent, ClientRequest } from 'node:http'
import { connect as connectTcp } from 'node:net'
import type { Duplex } from 'node:stream'
import { callbackify, inspect } from 'node:util'
import type { Endpoint } from '../config.ts'
import type { Connector } from './connector.ts'
import { createSecrets, type SecretSource } from './current.ts'
import { sshConnector } from './ssh.ts'
import { tlsConnector } from './tls.ts'

export interface Way {
  agent: Agent
  /** Each request over a connection of its own. */
  afresh: Agent
  reach: Connector['reach']
  close(): void
}

/** `onLost`: the engine has ended a connection that nobody used. It does so when it goes away, whoever comes back. */
export function wayTo(endpoint: Endpoint, onLost: () => void = () => {}): Way {
  const connector = connectorOf(endpoint, createSecrets())
  // Not by `import`, which reads all names of the module: some of them load the whole of Node's fetch.
  const http = process.getBuiltinModule('node:http')
  const agent = new http.Agent({ keepAlive: true })
  const afresh = new http.Agent({ keepAlive: false })
  for (const one of [agent, afresh]) {
    // The modem inspects its options, agent and sockets included, before every request, also when nobody looks at the result.
    Object.assign(one, { [inspect.custom]: () => 'Agent' })
    refuseRedirects(one)
  }
  noteLoss(agent, onLost)
  const destroy = (): void => {
    agent.destroy()
    afresh.destroy()
  }
  if (connector === undefined) return { agent, afresh, reach: reachHere, close: destroy }
  const open = callbackify(() => connector.open())
  const createConnection = (_options: unknown, done: (error: NodeJS.ErrnoException | null, connection: Duplex) => void): void =>
    open(done)
  for (const one of [agent, afresh]) Object.assign(one, { createConnection })
  return {
    agent,
    afresh,
    reach: connector.reach,
    close() {
      destroy()
      connector.close()
    },
  }
}

/**
 * Takes the place out of an answer that is a redirect, so that it is a failure with its status. The modem would follow it, with a plain
 * request past this agent, and end the process with a place that is no address. An agent sees each request before its answer can come.
 */
function refuseRedirects(agent: Agent): void {
  const { addRequest } = agent as unknown as { addRequest: (request: ClientRequest, ...rest: unknown[]) => void }
  const hook = (request: ClientRequest, ...rest: unknown[]): void => {
    request.prependListener('response', ({ statusCode = 0, headers }) => {
      if (statusCode >= 300 && statusCode < 400) delete headers.location
    })
    addRequest.call(agent, request, ...rest)
  }
  Object.assign(agent, { addRequest: hook })
}

/** Those that end with an answer say nothing: an engine ends them so. */
function noteLoss(agent: Agent, onLost: () => void): void {
  const seen = new WeakSet<Duplex>()
  const idle = new WeakSet<Duplex>()
  const pool = agent as unknown as Pool
  const { keepSocketAlive, reuseSocket } = pool
  pool.keepSocketAlive = (socket) => {
    idle.add(socket)
    if (!seen.has(socket)) socket.once('close', () => idle.has(socket) && onLost())
    seen.add(socket)
    return keepSocketAlive.call(agent, socket)
  }
  pool.reuseSocket = (socket, request) => {
    idle.delete(socket)
    reuseSocket.call(agent, socket, request)
  }
}

/** How an agent lets go of a connection, and takes it again. */
interface Pool {
  keepSocketAlive(socket: Duplex): boolean
  reuseSocket(socket: Duplex, request: ClientRequest): void
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
