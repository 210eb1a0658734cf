/** Bodies that are held in memory must come in time. Those that are handed on as streams last as long as they like. */
import type { FastifyRequest } from 'fastify'
import type { AccessOptions } from './access.ts'
import type { App } from './deps.ts'
import { ApiProblem } from './problems.ts'

/** Answers `too-slow` when a body is not there in time. */
export function boundBodies(app: App, access: Pick<AccessOptions, 'limits'>): void {
  const waiting = new WeakMap<FastifyRequest, NodeJS.Timeout>()
  app.addHook('preParsing', async (request, reply) => {
    const { raw } = request
    if (raw.complete || reply.raw.destroyed) return
    const ms = access.limits.bodyMs
    const timer = setTimeout(() => {
      if (reply.sent) return
      // To whoever reads the body, as a cut would be; to destroy the request would take the connection from the answer.
      raw.emit('error', new ApiProblem('too-slow', `the body did not come within ${ms / 1000} s`, { hint: HINT }))
    }, ms)
    waiting.set(request, timer)
    const stop = (): void => clearTimeout(timer)
    reply.raw.once('close', stop)
    raw.once('error', stop)
  })
  // Here a body that is held has come, and a stream is about to be read.
  app.addHook('preValidation', async (request) => clearTimeout(waiting.get(request)))
}

const HINT = 'Send it again over a faster line, or in smaller pieces.'
