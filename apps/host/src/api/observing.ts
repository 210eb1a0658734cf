/** What the API tells of itself, and the trace that each request belongs to. */
import type { FastifyRequest } from 'fastify'
import { newTraceparent, readTraceparent, type TraceSpan, untraced } from '../observe/trace.ts'
import type { ApiObserver, App } from './deps.ts'

declare module 'fastify' {
  interface FastifyRequest {
    span: TraceSpan | undefined
  }
}

export const unobserved: ApiObserver = {
  tracing: untraced,
  scrape: async () => '',
  publicMetrics: false,
  answered: () => undefined,
  streams: () => undefined,
}

export function observeRequests(app: App, observer: ApiObserver): void {
  const { tracing } = observer
  app.decorateRequest('span', undefined)
  app.addHook('onRequest', async (request) => {
    const parent = readTraceparent(request.headers.traceparent)
    // Looks that nobody follows would drown the rest.
    if (request.is404 || (request.method === 'GET' && parent === undefined)) return
    request.span = tracing.start(operationOf(request), {
      parent,
      kind: 'server',
      facts: { 'http.request.method': request.method },
    })
  })
  app.addHook('onResponse', async (request, reply) => {
    const operation = operationOf(request)
    const status = reply.statusCode
    observer.answered({ operation, status, seconds: reply.elapsedTime / 1000 })
    request.span?.end({
      facts: { 'http.response.status_code': status },
      ...(status >= 500 ? { failed: String(status) } : {}),
    })
  })
}

/** The context that is stored with what a request makes: of its own span, else of its client, else a new one. */
export function traceOf(request: FastifyRequest): { traceparent: string } {
  return { traceparent: request.span?.traceparent ?? readTraceparent(request.headers.traceparent) ?? newTraceparent() }
}

/** By the OpenAPI document; what is not in it shares one name, so that nobody makes names by asking. */
function operationOf(request: FastifyRequest): string {
  return request.routeOptions.schema?.operationId ?? 'other'
}
