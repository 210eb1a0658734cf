/** Tokens of other users and machines. */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { newId } from '../../store/ids.ts'
import { principalOf } from '../access.ts'
import { name } from '../bodies.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, keyHeader, needs } from '../describe.ts'
import { ApiProblem } from '../problems.ts'
import { named, pageOf, pageParts } from '../schemas.ts'
import { roles, tokenText, type TokenView } from '../tokens.ts'

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

/** Ten years: longer ones are slips, and a date that far off is none that can be stored or shown. */
const LONGEST_TTL_MS = 3650 * 86_400_000

const page = pageOf('TokenPage', tokenSchema)
const { limit, before } = pageParts('t')

export function tokenRoutes(app: App, { access: { tokens }, idempotency, engine: { journal } }: AppDeps): void {
  app.post(
    '/v1/tokens',
    {
      ...needs('admin', 'conflict', 'idempotency-mismatch'),
      schema: {
        operationId: 'createToken',
        summary: 'Makes a token',
        description:
          'Its text is shown this once; the store has only its hash. Its name is what records and limits know it by: no two that are good have the same one.',
        headers: keyHeader,
        body: z.strictObject({
          name,
          role: z.enum(roles),
          ttlMs: z.int().min(1).max(LONGEST_TTL_MS).describe('At most ten years. Default: until it is revoked.').exactOptional(),
        }),
        response: { 201: z.object({ token: z.string(), details: tokenSchema }) },
      },
    },
    async (request, reply) => {
      const { body } = request
      const keyed = { key: request.headers['idempotency-key'], principal: principalOf(request) }
      const fresh = randomBytes(32)
      const secretOf = (of: string): Buffer => (keyed.key === undefined ? fresh : idempotency.secret(keyed, of))
      const id = newId('t')
      const details = await idempotency.once(
        { ...keyed, request: { path: '/v1/tokens', body } },
        (also) =>
          tokens.create(
            { ...body, id, text: tokenText(id, secretOf(id)) },
            {
              also: async (tx, after, made) => {
                await also?.(tx, after, made)
                const inputs = { principal: keyed.principal, token: id, ...body }
                await journal.append(tx, after, { rule: 'token-made', decision: `token ${body.name} is made`, inputs })
              },
            },
          ),
        shown,
      )
      const worthless = details.id === id ? undefined : await tokens.worthless(details.id)
      if (worthless !== undefined)
        throw new ApiProblem('conflict', `the token ${details.id} that this key made is worthless by now: ${worthless}`, {
          hint: 'For another one send another Idempotency-Key.',
        })
      // Repeated with its key: the text of the token that was made then.
      const token = tokenText(details.id, secretOf(details.id))
      return reply.code(201).header('cache-control', 'no-store').send({ token, details })
    },
  )

  app.get(
    '/v1/tokens',
    {
      ...needs('admin'),
      schema: {
        operationId: 'listTokens',
        summary: 'All that are not revoked, newest first',
        querystring: z.strictObject({ limit, before }),
        response: { 200: page },
      },
    },
    async ({ query }) => {
      const views = await tokens.list(query)
      const last = views.length === query.limit ? views.at(-1)?.id : undefined
      return { items: views.map(shown), ...(last === undefined ? {} : { next: last }) }
    },
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
    async (request, reply) => {
      const { id } = request.params
      const revoked = await tokens.revoke(id, {
        also: (tx, after) => {
          const inputs = { principal: principalOf(request), token: id }
          return journal.append(tx, after, { rule: 'token-revoked', decision: 'a token is revoked', inputs })
        },
      })
      if (!revoked) throw new ApiProblem('not-found', `there is no token ${id}`)
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
