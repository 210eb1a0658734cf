/** Small words for the description of routes. */
import type { FastifyContextConfig } from 'fastify'
import { z } from 'zod'
import type { ProblemCode } from './problems.ts'
import type { Role } from './tokens.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What this route may answer beside the problems of its role and method. */
    problems?: readonly ProblemCode[]
  }
}

/** A user by the role of a token, anybody, or the agent in a worker by its ticket or its session. */
export type Caller = Role | 'public' | 'ticket' | 'session'

export interface ContentAnswer {
  description: string
  content: Record<string, { schema: z.ZodType }>
}

export function content(description: string, types: Record<string, z.ZodType>): ContentAnswer {
  return { description, content: Object.fromEntries(Object.entries(types).map(([type, schema]) => [type, { schema }])) }
}

/** Who may ask, and which problems the route itself may answer; those that all routes of its kind have are added: {@link problemsOf}. */
export function needs(role: Caller, ...problems: ProblemCode[]): { config: FastifyContextConfig } {
  return { config: { role, problems } }
}

export interface RouteKind {
  method: string
  role: Caller | undefined
  problems: readonly ProblemCode[] | undefined
}

/** Every problem that a route may answer. */
export function problemsOf({ method, role, problems = [] }: RouteKind): Set<ProblemCode> {
  const all = new Set<ProblemCode>(['invalid-request', 'wrong-host', 'too-slow', 'head-too-large', 'internal', ...problems])
  const add = (...codes: ProblemCode[]): unknown => codes.map((code) => all.add(code))
  add('rate-limited')
  if (role !== 'public') add('unauthorized', 'busy', 'stopping', 'store-unavailable')
  if (role === 'operator' || role === 'admin') add('forbidden')
  if (method !== 'GET') add('too-large', 'unsupported-media', 'disk-full')
  return all
}

/** A body that the route reads by itself. */
export const rawBody: z.ZodType = z.any().meta({ type: 'string', format: 'binary' })

/** Bytes, not JSON. */
export const bytes: z.ZodType<string> = z.string().meta({ format: 'binary' })

export const byId: z.ZodType<{ id: string }> = z.object({ id: z.string() })

/** Where a client of server-sent events goes on: what it sends by itself after a cut. Positions are whole and safe numbers. */
export const lastEventHeader: z.ZodType<{ 'last-event-id'?: string }> = z.looseObject({
  'last-event-id': z
    .string()
    .regex(/^\d{1,15}$/)
    .describe('The id of the last event seen; it counts more than `from`.')
    .exactOptional(),
})

export const keyHeader: z.ZodType<{ 'idempotency-key'?: string }> = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(200)
    .describe('The same request with the same key is done once; kept for a day.')
    .exactOptional(),
})
