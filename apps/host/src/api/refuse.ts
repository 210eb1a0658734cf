/** Problems as answers: to requests, and to what is no request at all. */
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { App } from './deps.ts'
import { NOTHING_ASKED, toProblem } from './errors.ts'
import { ApiProblem, problemBody, problemKinds } from './problems.ts'

/** The newest answer on each connection. */
const newest = new WeakMap<Socket, ServerResponse>()

/** Remembers which answer a connection carries, begun or not. */
export function noteAnswer(reply: FastifyReply): void {
  newest.set(reply.raw.req.socket, reply.raw)
}

/** Answers a request with the problem that `error` is. */
export function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  noteAnswer(reply)
  const problem = toProblem(error, queryNames(request))
  const fault = problem.code === 'internal'
  if (fault && !reply.raw.destroyed) request.log.error({ err: error, id: request.id }, 'a request failed inside the daemon')
  const seconds = retrySeconds(problem)
  if (seconds !== undefined) void reply.header('retry-after', seconds)
  if (problem.code === 'unauthorized') void reply.header('www-authenticate', 'Bearer')
  // What is still on its way of the body is not wanted any more.
  if (!request.raw.complete) void reply.header('connection', 'close')
  void reply
    .code(problemKinds[problem.code].status)
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send(problemBody(problem, fault ? request.id : undefined))
}

/** What may be asked for behind the `?` of this resource. */
function queryNames({ routeOptions }: FastifyRequest): string[] {
  const { querystring } = (routeOptions?.schema ?? {}) as { querystring?: { shape?: object } }
  return Object.keys(querystring?.shape ?? {})
}

const nothing = z.strictObject({})

/**
 * Refuses a query where nothing can be asked for: in the words of the operations that know some, which refuse by their schemas.
 * Probes and scrapes are answered whatever they add.
 */
export function refuseQuery({ routeOptions, query }: FastifyRequest): void {
  if (routeOptions.schema?.querystring !== undefined || routeOptions.url?.startsWith('/v1/') !== true) return
  const { error } = nothing.safeParse({ ...(query as object) })
  if (error === undefined) return
  throw new ApiProblem('invalid-request', 'The request fails its schema.', {
    errors: error.issues.map(({ message }) => ({ path: 'query', message: `${message}; ${NOTHING_ASKED}` })),
  })
}

/** What the parser of node:http does not let through: answered in the same words, on whichever of the addresses it came. */
export function refuseBroken(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  // In the middle of an answer, or after that to a request whose body turns out to be broken: a second one would be taken for that to the next.
  const answer = newest.get(socket)
  if (answer?.headersSent === true && !(answer.writableFinished && answer.req.complete)) {
    socket.destroySoon()
    return
  }
  const problem = brokenProblem(error.code)
  const body = JSON.stringify(problemBody(problem))
  const { status } = problemKinds[problem.code]
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...[retrySeconds(problem)].flatMap((seconds) => (seconds === undefined ? [] : [`retry-after: ${seconds}`])),
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroySoon())
}

/** Whole seconds until it makes sense to ask again; where nobody knows better, one. */
function retrySeconds({ code, details }: ApiProblem): number | undefined {
  const { retryAfterMs = problemKinds[code].retry === true ? 1000 : undefined } = details
  return retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000))
}

function brokenProblem(code: string | undefined): ApiProblem {
  if (code === 'HPE_HEADER_OVERFLOW') return new ApiProblem('head-too-large', 'request line and headers hold too many bytes')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new ApiProblem('too-slow', 'the head of the request did not come in time')
  return new ApiProblem('invalid-request', 'this is not HTTP/1.1')
}

/** An expectation that this server does not know is no reason not to answer (RFC 9110, 10.1.1: it may be ignored). */
export function ignoreExpectations(server: Server, app: App): void {
  server.on('checkExpectation', (request, response) => app.routing(request, response))
}
