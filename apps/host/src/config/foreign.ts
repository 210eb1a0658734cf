/** A plugin's own part of the configuration, checked by the JSON Schema of its manifest. Pure. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { runBounded } from './bounded.ts'
import { suggest } from './document.ts'
import type { LoadedConfig } from './load.ts'
import type { Problem } from './problem.ts'

export interface ForeignPart {
  schema: Record<string, unknown>
  value: unknown
  /** What the schema is, for problems. */
  what: string
  /** Holds the schema itself against that of JSON Schema: slow, and needed once, not at every start. */
  strictly: boolean
}

/** A hundred times what the largest of ours takes on a busy machine: only a pattern that tries one text in ever more ways does. */
const patienceMs = 2000

/** Problems of a value by a foreign JSON Schema, each at its own position. A broken schema is a problem of its plugin. */
export function checkBySchema(
  path: readonly PropertyKey[],
  { schema, value, what, strictly }: ForeignPart,
  at: LoadedConfig['problem'],
): Problem[] {
  const refuse = (fact: string): Problem[] => [
    at(path, { reason: `${what} ${fact}`, fix: 'use another version of this plugin, and tell its author' }),
  ]
  const place = path.map(String).join('.')
  let found: ErrorObject[] = []
  try {
    runBounded(() => {
      found = errorsOf(value, { schema, strictly })
    }, patienceMs)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      return refuse(`cannot be used: '${place}' is not checked within ${patienceMs / 1000} s`)
    if (error instanceof RangeError) return refuse(`cannot be used: it holds '${place}' against itself without end`)
    return refuse(`is no JSON Schema: ${(error as Error).message}`)
  }
  return telling(found).map((error) => {
    const inner = error.instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    const extra = (error.params as { additionalProperty?: string }).additionalProperty
    if (extra !== undefined) {
      const known = Object.keys(
        ((error.parentSchema ?? schema) as { properties?: object }).properties ??
          (schema['properties'] as object | undefined) ??
          {},
      )
      return at([...path, ...inner, extra], {
        at: 'key',
        reason: `unknown key '${extra}' by ${what}`,
        fix: suggest(extra, known) ?? 'remove it',
      })
    }
    const here = [...path, ...inner].map(String).join('.')
    return at([...path, ...inner], {
      reason: `'${here}' ${error.message ?? 'is wrong'} (${what})`,
      fix: fixOf(error),
    })
  })
}

/** Error: the schema is none. */
function errorsOf(value: unknown, { schema, strictly }: Pick<ForeignPart, 'schema' | 'strictly'>): ErrorObject[] {
  const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false, messages: true, validateSchema: strictly })
  const validate = ajv.compile(schema)
  // Its answer would be a promise, and what that says is nobody's to hear.
  if ('$async' in validate) throw new Error('it has $async, which JSON Schema has not')
  return validate(value) ? [] : (validate.errors ?? [])
}

/**
 * The errors that say something: a union's own one only repeats what its branches say, and of its branches the one that fits the shape of
 * the value, whose errors lie deepest.
 */
function telling(errors: readonly ErrorObject[]): ErrorObject[] {
  const unions = errors.filter(({ keyword }) => keyword === 'oneOf' || keyword === 'anyOf')
  return errors.filter((error) => {
    if (error.keyword === 'if') return false
    const inner = (union: ErrorObject): ErrorObject[] => errors.filter((one) => one.schemaPath.startsWith(`${union.schemaPath}/`))
    if (unions.includes(error)) return inner(error).length === 0
    return unions.every(
      (union) =>
        !error.schemaPath.startsWith(`${union.schemaPath}/`) ||
        error.instancePath !== union.instancePath ||
        !inner(union).some((one) => one.instancePath.length > union.instancePath.length),
    )
  })
}

/** What to write instead, as far as the schema tells. */
function fixOf({ keyword, params }: { keyword: string; params: Record<string, unknown> }): string {
  if (keyword === 'required') return `add ${String(params['missingProperty'])}`
  if (keyword === 'type') return `write ${[params['type']].flat().map(String).join(' or ')}`
  if (keyword === 'enum') return `write one of: ${(params['allowedValues'] as unknown[]).map(String).join(', ')}`
  if (keyword === 'const') return `write ${String(params['allowedValue'])}`
  if (keyword === 'pattern') return `write text that matches ${String(params['pattern'])}`
  if (params['limit'] !== undefined)
    return `give at ${/^min|Minimum/.test(keyword) ? 'least' : 'most'} ${params['limit'] as number}`
  return "see the schema in the plugin's manifest"
}
