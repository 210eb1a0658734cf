/** A plugin's own part of the configuration, checked by the JSON Schema of its manifest. Pure. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
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

/** Problems of a value by a foreign JSON Schema, each at its own position. A broken schema is a problem of its plugin. */
export function checkBySchema(
  path: readonly PropertyKey[],
  { schema, value, what, strictly }: ForeignPart,
  at: LoadedConfig['problem'],
): Problem[] {
  const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false, messages: true, validateSchema: strictly })
  let validate: ReturnType<typeof ajv.compile>
  try {
    validate = ajv.compile(schema)
  } catch (error) {
    return [
      at(path, {
        reason: `${what} is no JSON Schema: ${(error as Error).message}`,
        fix: 'use another version of this plugin, and tell its author',
      }),
    ]
  }
  if (validate(value)) return []
  return telling(validate.errors ?? []).map((error) => {
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
    const place = [...path, ...inner].map(String).join('.')
    return at([...path, ...inner], {
      reason: `'${place}' ${error.message ?? 'is wrong'} (${what})`,
      fix: fixOf(error),
    })
  })
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
