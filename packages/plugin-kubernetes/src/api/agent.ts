/** Connections to one API server, kept for the next request, until its certificates or the way to it change. */
import { createHash } from 'node:crypto'
import type { Agent as HttpAgent } from 'node:http'
import type { AgentOptions } from 'node:https'
import type { Identity } from './identity.ts'

export interface Agents {
  /** The one for this identity. A change of certificates makes a new one; what the old one is asked for still ends. */
  of(identity: Identity): Promise<HttpAgent>
  /** One that begins a connection for each request: what turns into something else does not begin on one that may be dead. */
  single(identity: Identity): Promise<HttpAgent>
  /** Drops connections that nobody uses: one of them turned out dead. */
  dropIdle(): void
  close(): void
}

/** Load balancers drop what is silent for a minute; client-go sends the first probe after 30 s too. */
const KEEP_ALIVE_MS = 30_000
/** What nobody uses for so long is dropped: a server does so after 90 s, load balancers after 60, and what is asked in that moment is lost. */
const IDLE_MS = 45_000
/** So many connections are kept for what comes next. */
const MOST_IDLE = 16

export function createAgents(): Agents {
  let current: { key: string; agent: HttpAgent } | undefined
  let singles: { key: string; agent: HttpAgent } | undefined
  const all = new Set<HttpAgent>()
  return {
    async single(identity) {
      const key = keyOf(identity)
      singles = singles?.key === key ? singles : { key, agent: await agentOf(identity, false) }
      return singles.agent
    },
    async of(identity) {
      const key = keyOf(identity)
      if (current?.key === key) return current.agent
      const agent = await agentOf(identity, true)
      if (current !== undefined) retire(current.agent)
      all.add(agent)
      current = { key, agent }
      return agent
    },
    dropIdle() {
      if (current !== undefined) dropIdle(current.agent)
    },
    close() {
      for (const agent of all) agent.destroy()
      all.clear()
      current = undefined
    },
  }

  function retire(agent: HttpAgent): void {
    // Connections in use go once they are free.
    agent.maxFreeSockets = 0
    dropIdle(agent)
    all.delete(agent)
  }
}

function dropIdle(agent: HttpAgent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
}

async function agentOf(identity: Identity, keepAlive: boolean): Promise<HttpAgent> {
  const { server, proxy, tls } = identity
  if (proxy?.startsWith('socks') === true) return (await identity.vendorAgent()) as HttpAgent
  const options: AgentOptions & { proxyEnv?: Record<string, string> } = {
    keepAlive,
    keepAliveMsecs: KEEP_ALIVE_MS,
    maxFreeSockets: MOST_IDLE,
    timeout: IDLE_MS,
    ...tls,
    // Only what the kubeconfig says: the process's own HTTPS_PROXY is for the way to the world, not to a cluster.
    ...(proxy === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxy, HTTP_PROXY: proxy } }),
  }
  // Not by `import`, which reads all names of the module: some of them load the whole of Node's fetch.
  return server.protocol === 'https:'
    ? new (process.getBuiltinModule('node:https').Agent)(options)
    : new (process.getBuiltinModule('node:http').Agent)(options)
}

function keyOf({ server, proxy, tls }: Identity): string {
  const hash = createHash('sha256')
  for (const part of [server.href, proxy, tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)])
    hash.update(part ?? '').update('\0')
  return hash.digest('hex')
}
