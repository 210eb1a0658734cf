import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { fileSchema } from './schema.ts'

interface JsonSchema {
  properties?: Record<string, JsonSchema>
  additionalProperties?: JsonSchema | boolean
  items?: JsonSchema
  anyOf?: JsonSchema[]
  allOf?: JsonSchema[]
  oneOf?: JsonSchema[]
}

/** Every key that a schema knows, wherever it stands. */
function keysOf(schema: JsonSchema | boolean | undefined): string[] {
  if (typeof schema !== 'object') return []
  const { properties = {}, additionalProperties, items, anyOf = [], allOf = [], oneOf = [] } = schema
  const inner = [...Object.values(properties), additionalProperties, items, ...anyOf, ...allOf, ...oneOf]
  return [...new Set([...Object.keys(properties), ...inner.flatMap(keysOf)])]
}

test('the example of a configuration shows every key there is', () => {
  const text = readFileSync(new URL('../../../../examples/configuration/muster.yaml', import.meta.url), 'utf8')
  const keys = keysOf(z.toJSONSchema(fileSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema)
  expect(keys).toContain('orphanGrace')
  // A word of a comment counts: there stands what the two providers of the example cannot do.
  expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(text))).toEqual([])
})
