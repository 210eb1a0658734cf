/** The OpenAPI document of the routes. */
import type { SwaggerTransform } from '@fastify/swagger'
import type { FastifySchema } from 'fastify'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import type { App } from './deps.ts'
import { problemsOf } from './describe.ts'
import { type ProblemCode, problemCodes, problemKinds } from './problems.ts'

interface Operation {
  summary: string
  responses: Record<string, { description: string } | { $ref: string }>
  'x-problems'?: ProblemCode[]
}
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, unknown>; responses?: Record<string, object> }
}
/** A route as the generator wants it, and with it the problems that it may answer. */
export const describeRoute: SwaggerTransform = (given) => {
  const told = jsonSchemaTransform(given)
  const { method, config } = given.route
  const problems = problemsOf({ method: String(method), role: config?.role, problems: config?.problems })
  return { ...told, schema: { ...told.schema, 'x-problems': [...problems] } as FastifySchema }
}

/** What the generator gives, without what says nothing. */
export function openApiOf(app: App): object {
  const document = plain(structuredClone(app.swagger())) as Document
  const shared: Record<string, object> = {}
  for (const operation of Object.values(document.paths).flatMap((path) => Object.values(path))) {
    const { summary, responses, 'x-problems': codes = [] } = operation
    for (const answer of Object.values(responses))
      if ('description' in answer && answer.description === 'Default Response') answer.description = summary
    for (const [status, same] of byStatus(codes)) {
      const name = same.join('.')
      shared[name] ??= problemAnswer(same)
      responses[status] = { $ref: `#/components/responses/${name}` }
    }
    delete operation['x-problems']
  }
  document.components.responses = Object.fromEntries(Object.entries(shared).sort(([a], [b]) => (a < b ? -1 : 1)))
  const schemas = document.components.schemas
  const used = reachable([document.paths, document.components.responses], schemas)
  // It makes two of each schema, one for each direction; here each is used in one.
  const names = new Map(
    [...used].map((name) => {
      const short = name.replace(/Input$/, '')
      return [name, used.has(short) ? name : short] as const
    }),
  )
  const renamed = JSON.parse(JSON.stringify(document), (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' && value.startsWith(REF)
      ? refTo(names.get(nameOf(value)) ?? nameOf(value))
      : value,
  ) as Document
  renamed.components.schemas = Object.fromEntries(
    [...names]
      .map(([name, short]): [string, unknown] => [short, renamed.components.schemas[name]])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
  return renamed
}

/** In the order of the table, so that the same codes are the same answer. */
function byStatus(codes: readonly ProblemCode[]): Map<number, ProblemCode[]> {
  const found = new Map<number, ProblemCode[]>()
  for (const code of problemCodes)
    if (codes.includes(code)) found.set(problemKinds[code].status, [...(found.get(problemKinds[code].status) ?? []), code])
  return found
}

function problemAnswer(codes: readonly ProblemCode[]): object {
  const kinds = codes.map((code) => problemKinds[code])
  const headers = {
    ...(kinds.some((kind) => kind.retry) ? { 'Retry-After': header('Seconds after which to ask again.', 'integer') } : {}),
    ...(codes.includes('unauthorized') ? { 'WWW-Authenticate': header('The scheme.', 'string') } : {}),
  }
  const schema = { allOf: [{ $ref: refTo('Problem') }, { type: 'object', properties: { code: { enum: [...codes] } } }] }
  return {
    description: kinds.map((kind) => `${kind.title}.`).join(' '),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    content: { 'application/problem+json': { schema } },
  }
}

function header(description: string, type: string): object {
  return { description, schema: { type } }
}

const REF = '#/components/schemas/'
const refTo = (name: string): string => `${REF}${name}`
const nameOf = (ref: string): string => ref.slice(REF.length)

function reachable(root: unknown, schemas: Record<string, unknown>): Set<string> {
  const found = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    const ref = (value as { $ref?: unknown }).$ref
    if (typeof ref === 'string' && ref.startsWith(REF) && !found.has(nameOf(ref))) {
      found.add(nameOf(ref))
      visit(schemas[nameOf(ref)])
    }
    for (const inner of Object.values(value)) visit(inner)
  }
  visit(root)
  return found
}

/** Bounds of a safe integer, the pattern beside a format, and names that are strings go without saying. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(
    ([key, inner]) =>
      !(key === 'minimum' && inner === Number.MIN_SAFE_INTEGER) &&
      !(key === 'maximum' && inner === Number.MAX_SAFE_INTEGER) &&
      !(key === 'pattern' && 'format' in value && value.format === 'date-time') &&
      !(key === 'propertyNames' && JSON.stringify(inner) === '{"type":"string"}'),
  )
  return Object.fromEntries(kept.map(([key, inner]) => [key, plain(inner)]))
}
