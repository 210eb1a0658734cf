/** Who may ask what: tokens, the unix socket, roles, and requests that a web page of somebody else makes a browser send. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isLoopback } from '../config/address.ts'
import type { Agents } from '../engine/api.ts'
import { bearerOf, checkSession, checkTicket, hear } from './agent-access.ts'
import type { Caller } from './describe.ts'
import type { Crowd } from './doors.ts'
import type { Limits } from './limits.ts'
import { ApiProblem } from './problems.ts'
import { type Principal, roles, type Tokens } from './tokens.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Least role that may ask; `public`: anybody who reaches the address; `ticket`, `session`: the agent in a worker. */
    role?: Caller
  }
  interface FastifyRequest {
    principal: Principal | undefined
  }
}

export interface AccessOptions {
  tokens: Tokens
  agents: Agents
  limits: Limits
  /** The address that the TCP server listens on. */
  host: string
  /** Over TLS, the certificate says which names are this server's, and a browser looks at that. */
  tls: boolean
  /** Did the request come through the unix socket? Its file mode has let only the owner (and root) in. */
  isLocal(request: FastifyRequest): boolean
  /** Are so many connections open that this one gets no more than a word? Then why. */
  crowdOf(request: FastifyRequest): Crowd | undefined
}

/** Throws `rate-limited`, `wrong-host`, `unauthorized` or `forbidden`; sets `request.principal`. */
export async function checkAccess(request: FastifyRequest, reply: FastifyReply, options: AccessOptions): Promise<void> {
  const needed = request.routeOptions.config.role
  const crowd = options.crowdOf(request)
  if (crowd !== undefined) {
    // Full doors are no silence of the agent, and nobody learns from this answer whether a session is right.
    if (needed === 'session') hear(request, options.agents)
    void reply.header('connection', 'close')
    // That it answers is a word as well; who would restart a daemon for its full doors ends all that goes on behind them.
    if (request.routeOptions.url !== '/healthz') throw crowdProblem(crowd)
  }
  const local = options.isLocal(request)
  if (!local) checkOrigin(request.headers, options)
  if (request.is404) return
  if (needed === 'public') {
    // Who shows a valid token may be told more; who does not, or when the store cannot be asked, is nobody.
    const { authorization } = request.headers
    if (local || authorization !== undefined) request.principal = await whoIs(request, local, options).catch(() => undefined)
    return
  }
  // One that is good is used up by its route, once the request is whole.
  if (needed === 'ticket') return checkTicket(request, options)
  if (needed === 'session') {
    const worker = checkSession(request, options)
    leaveWith(reply, options.limits.enterWorker(worker.id))
    // A long answer was asked for by somebody who was there until now.
    reply.raw.once('close', () => options.agents.heard(worker.id))
    return
  }
  const principal = await whoIs(request, local, options)
  leaveWith(reply, options.limits.enter(principal.name))
  if (needed === undefined || roles.indexOf(principal.role) < roles.indexOf(needed))
    throw new ApiProblem('forbidden', `the role ${principal.role} may not do this`, {
      hint: `Use a token with the role ${needed ?? 'admin'}.`,
    })
  request.principal = principal
}

function crowdProblem(crowd: Crowd): ApiProblem {
  const [message, hint] =
    crowd === 'address'
      ? [
          'as many connections are open from this address as may be',
          'Close some, or raise host.limits.connectionsPerAddress; the unix socket has places of its own.',
        ]
      : [
          'as many connections are open as may be',
          'Close some; or let the daemon open more files (LimitNOFILE of its unit, ulimit -n), and raise host.limits.connections where it is set.',
        ]
  return new ApiProblem('rate-limited', message, { hint, retryAfterMs: 1000 })
}

/** A body may take a minute to come: throws `unauthorized` when the token that let its request in is worthless by now. */
export function checkStill({ principal, routeOptions }: FastifyRequest, { tokens }: Pick<AccessOptions, 'tokens'>): void {
  if (principal?.token === undefined || routeOptions.config.role === 'public') return
  if (tokens.ends.isOver(principal.token)) throw worthless()
}

export function worthless(): ApiProblem {
  return new ApiProblem('unauthorized', 'the token is unknown, expired or revoked', {
    hint: 'Ask an admin for a new one; on its machine whoever may open the unix socket is admin: muster tokens create.',
  })
}

/** A request counts until its answer is over. */
function leaveWith(reply: FastifyReply, leave: () => void): void {
  if (reply.raw.destroyed) leave()
  else reply.raw.once('close', leave)
}

/** The principal of a request that passed {@link checkAccess}. */
export function principalOf(request: FastifyRequest): string {
  if (request.principal === undefined) throw new Error('a route without a role asked who calls')
  return request.principal.name
}

async function whoIs(request: FastifyRequest, local: boolean, { tokens, limits }: AccessOptions): Promise<Principal> {
  const { authorization } = request.headers
  if (local && authorization === undefined) return { name: 'local', role: 'admin' }
  const text = bearerOf(request.headers)
  const principal = text === undefined ? undefined : await tokens.verify(text)
  // Whoever shows a valid one waits for nobody's wrong tries: jobs, operators and whole sites may have one address. 256 bits are not guessed.
  if (principal !== undefined) return principal
  const address = request.socket.remoteAddress ?? 'local'
  limits.checkAddress(address)
  limits.failed(address)
  if (authorization === undefined)
    throw new ApiProblem('unauthorized', 'this needs a bearer token', {
      hint: "The first admin token is in admin.token of the daemon's data folder; on its machine the unix socket needs none.",
    })
  throw worthless()
}

/**
 * DNS rebinding: a page of another site lets its own name point at 127.0.0.1; the browser then sends that name as Host. Cross-site
 * requests carry the other site as Origin.
 */
function checkOrigin(
  headers: { host?: string | undefined; origin?: string | undefined },
  { host: listen, tls }: Pick<AccessOptions, 'host' | 'tls'>,
): void {
  const host = headers.host ?? ''
  const name = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?$/i
    .exec(host)
    ?.slice(1)
    .find((part) => part !== undefined)
    ?.toLowerCase()
  if (!tls && (name === undefined || !(isLoopback(name) || name === listen.toLowerCase())))
    throw new ApiProblem('wrong-host', `this is not the server '${host}'`, {
      hint: 'Use the address that the daemon listens on; a proxy in front sends that address as Host.',
    })
  if (headers.origin === undefined) return
  if (headers.origin !== `http://${host}` && headers.origin !== `https://${host}`)
    throw new ApiProblem('wrong-host', `pages of '${headers.origin}' may not use this API`, {
      hint: 'Call it from a program instead.',
    })
}
