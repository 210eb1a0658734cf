/** Tokens of other users and machines. */
import { z } from 'zod'
import type { App, AppDeps } from '../deps.ts'
import { byId, needs } from '../describe.ts'
import { ApiProblem } from '../problems.ts'
import { named } from '../schemas.ts'
import { roles, type TokenView } from '../tokens.ts'

const tokenSchema = named(
  'Token',
  z.object({
    id: z.string(),
    name: z.string(),
    role: z.enum(roles),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime().exactOptional(),
    lastUsedAt: z.iso.datetime().describe('To a minute.').exactOptional(),
  }),
)

export function tokenRoutes(app: App, { access: { tokens } }: AppDeps): void {
  app.post(
    '/v1/tokens',
    {
      ...needs('admin'),
      schema: {
        operationId: 'createToken',
        summary: 'Makes a token',
        description: 'Its text is shown this once; the store has only its hash.',
        body: z.strictObject({
          name: z.string().regex(/^[a-z0-9-]{1,40}$/),
          role: z.enum(roles),
          ttlMs: z.int().min(1).describe('Default: until it is revoked.').exactOptional(),
        }),
        response: { 201: z.object({ token: z.string(), details: tokenSchema }) },
      },
    },
    async ({ body }, reply) => {
      const { view, token } = await tokens.create(body)
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ token, details: shown(view) })
    },
  )

  app.get(
    '/v1/tokens',
    {
      ...needs('admin'),
      schema: {
        operationId: 'listTokens',
        summary: 'All that are not revoked',
        response: { 200: z.object({ items: z.array(tokenSchema) }) },
      },
    },
    async () => ({ items: (await tokens.list()).map(shown) }),
  )

  app.delete(
    '/v1/tokens/:id',
    {
      ...needs('admin', 'not-found'),
      schema: {
        operationId: 'revokeToken',
        summary: 'Makes a token worthless, at once',
        params: byId,
        response: { 204: z.undefined() },
      },
    },
    async ({ params }, reply) => {
      if (!(await tokens.revoke(params.id))) throw new ApiProblem('not-found', `there is no token ${params.id}`)
      return reply.code(204).send()
    },
  )
}

function shown({ createdAt, expiresAt, lastUsedAt, ...view }: TokenView): z.infer<typeof tokenSchema> {
  return {
    ...view,
    createdAt: new Date(createdAt).toISOString(),
    ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt: new Date(lastUsedAt).toISOString() }),
  }
}
