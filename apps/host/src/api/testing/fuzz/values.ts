/** Values of a schema, and values that are close to it and wrong. */
import fc from 'fast-check'
import type { Chance } from './chance.ts'
import type { OpenApiDocument, Schema } from './document.ts'

export interface Values {
  /** One that the schema allows. `path` names where it stands: `body.env.A`. */
  valid(schema: Schema, path: string): unknown
  /** Anything but what is expected. */
  odd(): unknown
  oddText(): string
  /** `value` with one place in it changed, added or taken away. */
  bent(value: unknown): unknown
}

export interface ValueSource {
  chance: Chance
  document: OpenApiDocument
  /** What a test knows better than the schema, as ids that exist. */
  known(path: string, schema: Schema): unknown
}

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  0.5,
  1e-9,
  255,
  256,
  65_536,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  1e21,
  1e308,
  -1e308,
]
const TEXTS = [
  ...[
    '',
    ' ',
    '\0',
    'a\0b',
    '\n',
    '\r\nx: y',
    '%00',
    '%',
    '%zz',
    '..',
    '../../etc/passwd',
    '/',
    '\\',
    "'",
    '"',
    '`',
    '$(id)',
    '<b>',
    '--',
  ],
  ...[
    'é',
    '日本語',
    '\u{1F600}',
    '\u202e',
    '\ud800',
    '\ufeff',
    'null',
    'undefined',
    'NaN',
    'Infinity',
    '-1',
    '1e999',
    '0x10',
    'true',
  ],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', "' or 1=1 --", '{}', '[]', 'a'.repeat(101), 'a'.repeat(5000)],
]
const LETTERS = Array.from('abcXYZ019-_. é')
/** As many of one pattern as make a difference. */
const SAMPLES = 20

export function values({ chance, document, known }: ValueSource): Values {
  const samples = new Map<string, string[]>()

  function ofPattern(pattern: string): string {
    const kept =
      samples.get(pattern) ?? fc.sample(fc.stringMatching(new RegExp(pattern)), { seed: chance.int(2 ** 31), numRuns: SAMPLES })
    samples.set(pattern, kept)
    return chance.pick(kept)
  }

  function text(schema: Schema): string {
    if (schema.format === 'base64' || schema.pattern?.startsWith('^$|') === true)
      return Buffer.from('x'.repeat(chance.int(40))).toString('base64')
    if (schema.format === 'date-time') return new Date(chance.int(2 ** 31) * 1000).toISOString()
    const { minLength = 0, maxLength = 60 } = schema
    if (schema.pattern !== undefined) return ofPattern(schema.pattern).slice(0, maxLength) || 'x'.repeat(minLength)
    const length = chance.is(0.1) ? maxLength : Math.min(maxLength, minLength + chance.int(12))
    return Array.from({ length }, () => chance.pick(LETTERS)).join('')
  }

  function number({ minimum = 0, maximum = 100_000 }: Schema, whole: boolean): number {
    if (chance.is(0.2)) return chance.pick([minimum, maximum])
    const drawn = minimum + chance.int(Math.min(10_000, maximum - minimum + 1))
    return whole ? drawn : drawn + 0.5
  }

  function object(schema: Schema, path: string): Record<string, unknown> {
    const { properties = {}, required = [], additionalProperties, propertyNames } = schema
    const chosen = Object.entries(properties).filter(([name]) => required.includes(name) || chance.is(0.3))
    const made = chosen.map(([name, inner]): [string, unknown] => [name, valid(inner, `${path}.${name}`)])
    if (typeof additionalProperties !== 'object') return Object.fromEntries(made)
    for (let left = chance.int(3); left > 0; left--) {
      const name = propertyNames === undefined ? `k${chance.int(9)}` : text(propertyNames) || 'k'
      made.push([name, valid(additionalProperties, `${path}.${name}`)])
    }
    return Object.fromEntries(made)
  }

  function valid(given: Schema, path: string): unknown {
    const schema = target(document, given)
    const better = known(path, schema)
    if (better !== undefined) return better
    if (schema.const !== undefined) return schema.const
    if (schema.enum !== undefined) return chance.pick(schema.enum)
    const either = schema.anyOf ?? schema.oneOf
    if (either !== undefined) return valid(chance.pick(either), path)
    switch (schema.type) {
      case 'string':
        return text(schema)
      case 'integer':
        return number(schema, true)
      case 'number':
        return number(schema, false)
      case 'boolean':
        return chance.is(0.5)
      case 'array':
        return Array.from({ length: (schema.minItems ?? 0) + chance.int(3) }, (_, index) =>
          valid(schema.items ?? {}, `${path}.${index}`),
        )
      case 'object':
        return object(schema, path)
      default:
        return odd()
    }
  }

  const oddText = (): string => chance.pick(TEXTS)

  function odd(): unknown {
    const kinds = [
      ...[oddText, oddText, () => chance.pick(NUMBERS), () => chance.is(0.5), () => null, () => [], () => ({})],
      ...[() => [oddText()], () => ({ [oddText()]: oddText() }), () => deep(chance.int(200))],
    ]
    return chance.pick(kinds)()
  }

  function bent(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || chance.is(0.15)) return odd()
    if (Array.isArray(value)) {
      const at = chance.int(value.length + 1)
      if (at === value.length || chance.is(0.2)) return [...(value as unknown[]), odd()]
      return value.with(at, bent(value[at]))
    }
    const entries = Object.entries(value)
    const at = chance.int(entries.length + 1)
    const entry = entries[at]
    if (entry === undefined) return { ...value, [oddText()]: odd() }
    if (chance.is(0.2)) return Object.fromEntries(entries.toSpliced(at, 1))
    return Object.fromEntries(entries.with(at, [entry[0], bent(entry[1])]))
  }

  return { valid, odd, oddText, bent }
}

function target(document: OpenApiDocument, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema
  const found = document.components.schemas[schema.$ref.slice('#/components/schemas/'.length)]
  if (found === undefined) throw new Error(`${schema.$ref} leads nowhere`)
  return target(document, found)
}

function deep(levels: number): unknown {
  let value: unknown = 1
  for (let left = levels; left > 0; left--) value = left % 2 === 0 ? [value] : { a: value }
  return value
}
