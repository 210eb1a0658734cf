/** Small words for the description of routes. */
import type { FastifyContextConfig } from 'fastify'
import { z } from 'zod'
import { problem } from './schemas.ts'
import type { Role } from './tokens.ts'

export interface ContentAnswer {
  description: string
  content: Record<string, { schema: z.ZodType }>
}

/** Every route may answer a problem. */
export const failures: { default: ContentAnswer } = {
  default: { description: 'A problem.', content: { 'application/problem+json': { schema: problem } } },
}

export function content(description: string, types: Record<string, z.ZodType>): ContentAnswer {
  return { description, content: Object.fromEntries(Object.entries(types).map(([type, schema]) => [type, { schema }])) }
}

export function needs(role: Role | 'public'): { config: FastifyContextConfig } {
  return { config: { role } }
}

/** A body that the route reads by itself. */
export const rawBody: z.ZodType = z.any().meta({ type: 'string', format: 'binary' })

/** Bytes, not JSON. */
export const bytes: z.ZodType<string> = z.string().meta({ format: 'binary' })

export const byId: z.ZodType<{ id: string }> = z.object({ id: z.string() })

export const keyHeader: z.ZodType<{ 'idempotency-key'?: string }> = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(200)
    .describe('The same request with the same key is done once; kept for a day.')
    .exactOptional(),
})
