/** Is it alive, is it ready, what is it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { type Health, healthOf, readinessOf } from '../../observe/health.ts'
import { SCRAPE_TYPE } from '../../observe/metrics/server.ts'
import type { App, AppDeps } from '../deps.ts'
import { content, needs } from '../describe.ts'
import { openApiOf } from '../openapi.ts'
import { named } from '../schemas.ts'

const version = named(
  'Version',
  z.object({
    version: z.string(),
    api: z.literal('v1'),
    owner: z.string().describe('Of this deployment; it tags the workers.'),
    store: z.record(z.string(), z.union([z.string(), z.number()])),
    node: z.string(),
  }),
)

const health = named(
  'Health',
  z.object({
    status: z.enum(['ok', 'failing']),
    parts: z
      .array(
        z.object({
          name: z.string().describe('store, term, disk (only while output of runs waits), `provider NAME`, `pool NAME`.'),
          state: z
            .enum(['ok', 'pending', 'degraded', 'failed'])
            .describe('pending: not known yet · degraded: others go on · failed: nothing goes without it.'),
          reason: z.string().exactOptional(),
          hint: z.string().describe('What can be done about it.').exactOptional(),
        }),
      )
      .describe('Only for those who show a valid token.')
      .exactOptional(),
  }),
)

export function metaRoutes(app: App, { engine, version: own, observer }: AppDeps): void {
  app.get(
    '/healthz',
    {
      ...needs('public'),
      schema: {
        operationId: 'healthz',
        summary: 'Does it answer?',
        security: [],
        response: { 200: z.object({ status: z.literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  /** The body; the status is 503 when it is not well. */
  function told(request: FastifyRequest, reply: FastifyReply, found: Health): z.infer<typeof health> {
    void reply.code(found.ok ? 200 : 503).header('cache-control', 'no-store')
    const parts = request.principal === undefined ? {} : { parts: found.parts }
    return { status: found.ok ? 'ok' : 'failing', ...parts }
  }

  app.get(
    '/v1/health',
    {
      ...needs('public'),
      schema: {
        operationId: 'health',
        summary: 'Is the daemon well?',
        description:
          'It answers, holds the term, and its store takes writes; else 503. A full disk is not mended by a restart: for a check that restarts the daemon use `/healthz`, which only says that it answers.',
        security: [],
        response: { 200: health, 503: health },
      },
    },
    async (request, reply) => told(request, reply as FastifyReply, healthOf(engine)),
  )

  for (const [path, operationId] of [
    ['/v1/ready', 'ready'],
    ['/readyz', 'readyz'],
  ] as const)
    app.get(
      path,
      {
        ...needs('public'),
        schema: {
          operationId,
          summary: 'May work be sent to it?',
          description:
            'The daemon is well, every provider of its start that answers was looked at once, and at least one pool has a provider that is ready; else 503. Providers and pools that are worse than they should be are among the parts and do not make it fail.',
          security: [],
          response: { 200: health, 503: health },
        },
      },
      async (request, reply) => told(request, reply as FastifyReply, readinessOf(engine)),
    )

  app.get(
    '/metrics',
    {
      ...needs(observer.publicMetrics ? 'public' : 'viewer'),
      schema: {
        operationId: 'metrics',
        summary: 'Metrics for Prometheus',
        description:
          'Its text format 0.0.4. The metrics are described in metrics.md; `host.metrics` of the configuration opens them.',
        response: { 200: content('The metrics.', { 'text/plain': z.string() }) },
      },
    },
    async (_request, reply) =>
      reply
        .type(SCRAPE_TYPE)
        .serializer(String)
        .send(await observer.scrape()),
  )

  app.get(
    '/v1/version',
    { ...needs('viewer'), schema: { operationId: 'version', summary: 'What runs', response: { 200: version } } },
    async () => ({
      version: own,
      api: 'v1' as const,
      owner: engine.owner,
      store: engine.store.facts(),
      node: process.versions.node,
    }),
  )

  let document: string | undefined
  app.get(
    '/v1/openapi.json',
    {
      ...needs('public'),
      schema: {
        operationId: 'openapi',
        summary: 'This document',
        security: [],
        response: { 200: z.looseObject({ openapi: z.literal('3.1.0') }) },
      },
    },
    async (_request, reply) => {
      document ??= JSON.stringify(openApiOf(app))
      return reply
        .type('application/json')
        .serializer(String)
        .send(document as never)
    },
  )
}
