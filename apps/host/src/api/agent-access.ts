/** Who calls `/v1/self`: the agent in a worker, by the ticket of its launch, then by its session. Users' tokens are worth nothing there. */
import type { FastifyRequest } from 'fastify'
import { type Agents, EngineError } from '../engine/api.ts'
import type { LiveWorker } from '../engine/model.ts'
import type { Limits } from './limits.ts'
import { ApiProblem } from './problems.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The worker that a session proved. */
    agent: LiveWorker | undefined
  }
}

export interface AgentAccess {
  agents: Agents
  limits: Limits
}

/** What an Authorization header carries; undefined when it is no bearer. */
export function bearerOf({ authorization = '' }: { authorization?: string | undefined }): string | undefined {
  return /^Bearer ([!-~]{1,200})$/i.exec(authorization)?.[1]
}

/** The worker whose session a request carries: with that it is heard of, whatever the answer will be. */
export function hear(request: FastifyRequest, agents: Agents): LiveWorker | undefined {
  const text = bearerOf(request.headers)
  const worker = text === undefined ? undefined : agents.whose(text)
  if (worker !== undefined) agents.heard(worker.id)
  return worker
}

/** Sets `request.agent`. Throws `unauthorized` or `rate-limited`. */
export function checkSession(request: FastifyRequest, { agents, limits }: AgentAccess): LiveWorker {
  const worker = hear(request, agents)
  if (worker === undefined)
    throw refusal(request, limits, {
      detail: 'this needs the session of a live worker',
      hint: 'POST /v1/self/ready exchanges the ticket of the launch for one, once. When its worker is gone the session is, too.',
    })
  request.agent = worker
  return worker
}

/** Refuses a ticket that is not good, before a body is read. Errors: those of {@link exchangeTicket}, which writes down what it was. */
export async function checkTicket(request: FastifyRequest, access: AgentAccess): Promise<void> {
  const text = bearerOf(request.headers)
  if (text === undefined || !access.agents.isGood(text)) await exchangeTicket(request, access)
}

/** Exchanges the ticket of a request. Throws `unauthorized`, `rate-limited`, and what {@link Agents.enter} throws. */
export async function exchangeTicket(
  request: FastifyRequest,
  { agents, limits }: AgentAccess,
): Promise<NonNullable<Awaited<ReturnType<Agents['enter']>>>> {
  const from = addressOf(request)
  const text = bearerOf(request.headers)
  // A ticket that is good waits for nobody's wrong tries: all workers of a machine, or behind one gateway, have one address.
  if (text === undefined || !agents.isGood(text)) limits.checkAddress(from)
  let found: Awaited<ReturnType<Agents['enter']>>
  try {
    found = text === undefined ? undefined : await agents.enter(text, from)
  } catch (error) {
    // A replay is written down each time; that a store is ill is not its caller's fault.
    if (error instanceof EngineError) limits.failed(from)
    throw error
  }
  if (found !== undefined) return found
  throw refusal(request, limits, {
    detail: 'this needs the ticket of a live worker',
    hint: 'The worker got it with its launch; it is good until that is ready or given up.',
  })
}

/** The worker of a request that passed {@link checkSession}. */
export function workerOf({ agent }: FastifyRequest): LiveWorker {
  if (agent === undefined) throw new Error('a route without a session asked for its worker')
  return agent
}

/** As {@link workerOf}; throws `ended` when there is nothing left to do for it. */
export function agentOf(request: FastifyRequest, agents: Agents): LiveWorker {
  const worker = workerOf(request)
  if (agents.isOver(worker))
    throw new ApiProblem('ended', `worker ${worker.id} is ${worker.phase}: there is nothing more to do`, {
      hint: 'The agent may end.',
    })
  return worker
}

function refusal(request: FastifyRequest, limits: Limits, { detail, hint }: { detail: string; hint: string }): ApiProblem {
  const address = addressOf(request)
  limits.checkAddress(address)
  limits.failed(address)
  return new ApiProblem('unauthorized', detail, { hint })
}

function addressOf(request: FastifyRequest): string {
  return request.socket.remoteAddress ?? 'local'
}
