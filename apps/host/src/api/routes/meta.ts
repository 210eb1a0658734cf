/** Is it alive, is it ready, what is it. */
import { z } from 'zod'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { openApiOf } from '../openapi.ts'
import { ApiProblem } from '../problems.ts'
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

export function metaRoutes(app: App, { engine, version: own }: AppDeps): void {
  app.get(
    '/healthz',
    {
      ...needs('public'),
      schema: {
        operationId: 'health',
        summary: 'Alive?',
        security: [],
        response: { 200: z.object({ status: z.literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/readyz',
    {
      ...needs('public', 'store-unavailable', 'disk-full', 'stopping'),
      schema: {
        operationId: 'ready',
        summary: 'Takes work?',
        security: [],
        response: { 200: z.object({ status: z.literal('ready') }) },
      },
    },
    async () => {
      const health = engine.store.health()
      if (health.state === 'ok') return { status: 'ready' as const }
      throw new ApiProblem(health.state === 'full' ? 'disk-full' : 'store-unavailable', health.message, { hint: health.hint })
    },
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
