/** The OpenAPI document of the routes. */
import type { App } from './deps.ts'

interface Document {
  paths: Record<string, Record<string, { summary: string; responses: Record<string, { description: string }> }>>
  components: { schemas: Record<string, unknown> }
}

/** What the generator gives, without what says nothing. */
export function openApiOf(app: App): object {
  const document = plain(structuredClone(app.swagger())) as Document
  for (const { summary, responses } of Object.values(document.paths).flatMap((path) => Object.values(path)))
    for (const answer of Object.values(responses)) if (answer.description === 'Default Response') answer.description = summary
  const schemas = document.components.schemas
  const used = reachable(document.paths, schemas)
  // It makes two of each schema, one for each direction; here each is used in one.
  const names = new Map(
    [...used].map((name) => {
      const short = name.replace(/Input$/, '')
      return [name, used.has(short) ? name : short] as const
    }),
  )
  const renamed = JSON.parse(JSON.stringify(document), (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' ? refTo(names.get(nameOf(value)) ?? nameOf(value)) : value,
  ) as Document
  renamed.components.schemas = Object.fromEntries(
    [...names]
      .map(([name, short]): [string, unknown] => [short, renamed.components.schemas[name]])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
  return renamed
}

const REF = '#/components/schemas/'
const refTo = (name: string): string => `${REF}${name}`
const nameOf = (ref: string): string => ref.slice(REF.length)

function reachable(root: unknown, schemas: Record<string, unknown>): Set<string> {
  const found = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    const ref = (value as { $ref?: unknown }).$ref
    if (typeof ref === 'string' && !found.has(nameOf(ref))) {
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
