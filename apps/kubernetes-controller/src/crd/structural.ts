/** JSON Schema of the host's configuration as a structural schema of a CustomResourceDefinition. Pure. */

/** What zod writes of our schemas: JSON Schema 2020-12, and `formatMinimum`, `formatMaximum` for durations. */
export interface JsonSchema {
  type?: string
  description?: string
  format?: string
  pattern?: string
  minLength?: number
  enum?: unknown[]
  const?: unknown
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  minItems?: number
  items?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: JsonSchema | boolean
  propertyNames?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  formatMinimum?: string
  formatMaximum?: string
  'x-kubernetes-list-type'?: string
  'x-kubernetes-list-map-keys'?: string[]
}

/** A rule in the Common Expression Language, https://kubernetes.io/docs/reference/using-api/cel/ */
export interface CelRule {
  rule: string
  message: string
}

/** https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema */
export interface Structural {
  type?: string
  description?: string
  format?: string
  pattern?: string
  minLength?: number
  maxLength?: number
  enum?: unknown[]
  default?: unknown
  minimum?: number
  maximum?: number
  exclusiveMinimum?: boolean
  minItems?: number
  maxItems?: number
  maxProperties?: number
  items?: Structural
  properties?: Record<string, Structural>
  required?: string[]
  additionalProperties?: Structural
  anyOf?: { type: string }[]
  'x-kubernetes-int-or-string'?: true
  'x-kubernetes-preserve-unknown-fields'?: true
  'x-kubernetes-validations'?: CelRule[]
  'x-kubernetes-list-type'?: string
  'x-kubernetes-list-map-keys'?: string[]
}

/**
 * A server takes a rule only when its worst case is bounded, and so is what the rule looks at. The host knows none of these bounds; each is far
 * beyond what a pool has.
 */
const MOST = { durationLength: 32, names: 200, items: 64 }

export function structuralOf(schema: JsonSchema): Structural {
  const either = schema.oneOf ?? schema.anyOf
  if (either?.some(({ type }) => type === 'integer') === true) return sizeOf(schema, either)
  if (either?.every(({ type }) => type === 'object') === true) return kindsOf(schema, either)
  if (schema.type === 'object') return objectOf(schema)
  if (schema.type === 'array')
    return {
      ...described(schema, 'array'),
      maxItems: MOST.items,
      ...taken(schema, ['minItems', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys']),
      items: structuralOf(schema.items ?? {}),
    }
  if (schema.type === 'integer' || schema.type === 'number') return numberOf(schema)
  if (schema.type === 'string') return stringOf(schema)
  if (schema.type === 'boolean') return described(schema, 'boolean')
  if (schema.type !== undefined) throw new Error(`a schema of the type ${schema.type} has no structural form`)
  // What a plugin's own schema describes.
  return { ...described(schema, 'object'), 'x-kubernetes-preserve-unknown-fields': true }
}

function described(schema: JsonSchema, type: string): Structural {
  return { ...taken(schema, ['description']), type }
}

function taken<K extends keyof JsonSchema & keyof Structural>(schema: JsonSchema, keys: readonly K[]): Pick<Structural, K> {
  const found = keys.filter((key) => schema[key] !== undefined).map((key) => [key, schema[key]])
  return Object.fromEntries(found) as Pick<Structural, K>
}

function objectOf(schema: JsonSchema): Structural {
  const { properties, additionalProperties, propertyNames, required = [], oneOf } = schema
  const rules: CelRule[] = []
  if (oneOf !== undefined) rules.push(exactlyOne(oneOf))
  const whole = described(schema, 'object')
  if (properties !== undefined)
    return {
      ...whole,
      properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, structuralOf(value)])),
      ...(required.length === 0 ? {} : { required }),
      ...ruled(rules),
    }
  const pattern = propertyNames?.pattern
  if (pattern !== undefined)
    rules.push({ rule: `self.all(name, name.matches(${cel(pattern)}))`, message: `names match ${pattern}` })
  const values = typeof additionalProperties === 'object' ? structuralOf(additionalProperties) : {}
  return { ...whole, maxProperties: MOST.names, additionalProperties: values, ...ruled(rules) }
}

/** Of an object that refines itself to one of several keys, as JSON Schema says it: `oneOf: [{ required: [key] }, …]`. */
function exactlyOne(alternatives: readonly JsonSchema[]): CelRule {
  const keys = alternatives.flatMap(({ required = [] }) => required)
  return {
    rule: `[${keys.map((key) => `has(self.${key})`).join(', ')}].exists_one(given, given)`,
    message: `give exactly one of ${keys.join(', ')}`,
  }
}

/** Objects told apart by a key with a constant: one object with the keys of all, and for each constant a rule that says which are its own. */
function kindsOf(schema: JsonSchema, kinds: readonly JsonSchema[]): Structural {
  const discriminator = Object.entries(kinds[0]?.properties ?? {}).find(([, value]) => value.const !== undefined)?.[0]
  if (discriminator === undefined) throw new Error('a choice between objects needs a key that tells them apart')
  const all = Object.assign({}, ...kinds.map(({ properties }) => properties)) as Record<string, JsonSchema>
  const names = kinds.map(({ properties }) => properties?.[discriminator]?.const as string)
  const others = Object.keys(all).filter((key) => key !== discriminator)
  const rules = kinds.map(({ properties = {}, required = [] }, index): CelRule => {
    const parts = others.flatMap((key) => {
      if (required.includes(key)) return [`has(self.${key})`]
      return key in properties ? [] : [`!has(self.${key})`]
    })
    const own = Object.keys(properties).filter((key) => key !== discriminator)
    return {
      rule: `self.${discriminator} != ${cel(names[index] ?? '')} || (${parts.join(' && ')})`,
      message: `${names[index]} has ${own.map((key) => (required.includes(key) ? key : `${key} or nothing`)).join(', ')}, and no other key`,
    }
  })
  return {
    ...described(schema, 'object'),
    properties: {
      [discriminator]: { type: 'string', enum: names },
      ...Object.fromEntries(others.map((key) => [key, structuralOf(all[key] ?? {})])),
    },
    required: [discriminator],
    'x-kubernetes-validations': rules,
  }
}

function sizeOf(schema: JsonSchema, either: readonly JsonSchema[]): Structural {
  const text = either.find(({ type }) => type === 'string')
  return {
    ...taken(schema, ['description']),
    anyOf: [{ type: 'integer' }, { type: 'string' }],
    ...taken(text ?? {}, ['pattern']),
    'x-kubernetes-int-or-string': true,
  }
}

function numberOf(schema: JsonSchema): Structural {
  const { exclusiveMinimum, maximum, type = 'number' } = schema
  return {
    ...described(schema, type),
    ...(type === 'integer' ? { format: 'int64' } : {}),
    ...taken(schema, ['minimum']),
    ...(exclusiveMinimum === undefined ? {} : { minimum: exclusiveMinimum, exclusiveMinimum: true }),
    ...(maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? {} : { maximum }),
  }
}

function stringOf(schema: JsonSchema): Structural {
  const { formatMinimum, formatMaximum, format } = schema
  const rules = [
    ...(formatMinimum === undefined ? [] : [bound(formatMinimum, { sign: '>=', words: 'at least' })]),
    ...(formatMaximum === undefined ? [] : [bound(formatMaximum, { sign: '<=', words: 'at most' })]),
  ]
  return {
    ...described(schema, 'string'),
    ...(format === 'date-time' ? { format } : {}),
    ...taken(schema, ['pattern', 'minLength', 'enum']),
    ...(rules.length === 0 ? {} : { maxLength: MOST.durationLength }),
    ...ruled(rules),
  }
}

/** CEL's durations know no days. */
function bound(limit: string, { sign, words }: { sign: string; words: string }): CelRule {
  const days = `double(self.substring(0, self.size() - 1)) * 86400.0 ${sign} ${secondsOf(limit)}.0`
  return {
    rule: `self.endsWith('d') ? ${days} : duration(self) ${sign} duration('${limit}')`,
    message: `it is ${words} ${limit}`,
  }
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 }

function secondsOf(limit: string): number {
  const [, count, unit = ''] = /^(\d+)([smh])$/.exec(limit) ?? []
  const seconds = Number(count) * (SECONDS[unit] ?? Number.NaN)
  if (Number.isNaN(seconds)) throw new Error(`the limit ${limit} is no whole number of s, m or h`)
  return seconds
}

function ruled(rules: CelRule[]): Pick<Structural, 'x-kubernetes-validations'> {
  return rules.length === 0 ? {} : { 'x-kubernetes-validations': rules }
}

/** Text as a literal; a raw one, where a backslash is one. */
function cel(text: string): string {
  if (text.includes("'")) throw new Error(`a literal with a quote in it: ${text}`)
  return text.includes('\\') ? `r'${text}'` : `'${text}'`
}
