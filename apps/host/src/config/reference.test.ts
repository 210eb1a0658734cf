import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { registrySchema } from '../plugins/registry.ts'
import { fileSchema } from './schema.ts'

const reference = join(import.meta.dirname, '../../../../docs/reference')

interface JsonSchema {
  type?: string | string[]
  description?: string
  properties?: Record<string, JsonSchema>
  additionalProperties?: JsonSchema | boolean
  required?: string[]
  items?: JsonSchema
  enum?: unknown[]
  const?: unknown
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
}

function kindOf(schema: JsonSchema): string {
  if (schema.enum !== undefined) return schema.enum.map(String).join(', ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  const either = schema.anyOf ?? schema.oneOf
  if (either !== undefined) return [...new Set(either.map(kindOf))].join(' or ')
  if (schema.items !== undefined) return `list of ${kindOf(schema.items)}`
  if (schema.properties !== undefined)
    return Object.keys(schema.properties).length === 1 ? `{ ${Object.keys(schema.properties)[0] ?? ''} }` : 'section'
  return [schema.type ?? 'anything'].flat().join(' or ')
}

function rows(schema: JsonSchema, path: string): string[] {
  const { properties = {}, additionalProperties, required = [] } = schema
  const inner = typeof additionalProperties === 'object' ? { NAME: additionalProperties } : {}
  return Object.entries({ ...properties, ...inner }).flatMap(([key, value]) => {
    const name = path === '' ? key : `${path}.${key}`
    const section = value.properties !== undefined || typeof value.additionalProperties === 'object'
    const must = required.includes(key) ? ' Required.' : ''
    const text = `${value.description ?? ''}${must}`.trim().replaceAll('|', '\\|')
    const own = section && text === '' ? [] : [`| \`${name}\` | ${section ? 'section' : kindOf(value)} | ${text} |`]
    return [
      ...own,
      ...(section ? rows(value, name) : value.items?.properties === undefined ? [] : rows(value.items, `${name}[]`)),
    ]
  })
}

const pages: [string, { file: string; schema: z.ZodType; text: string[] }][] = [
  [
    'muster.yaml',
    {
      file: 'configuration.md',
      schema: fileSchema,
      text: [
        'Every key. A key that is not known is an error, as is a value of another kind; `muster check` says all that is wrong, each with its place, reason and fix.',
        'Durations have a unit (`ms`, `s`, `m`, `h`, `d`), sizes too (`Ki`, `Mi`, `Gi`, `Ti`). Paths are relative to the file. [examples/configuration](../../examples/configuration)',
        'shows them in use. `muster apply` lets a running daemon take a changed file; keys of `host` other than `reconcile`, `orphanGrace`, `plugins`,',
        '`url` and `network` need a restart, and so does `network` where traces are sent; it says so, and changes nothing then.',
      ],
    },
  ],
  [
    'plugins.json',
    {
      file: 'plugins.md',
      schema: registrySchema,
      text: [
        'Every key of the registry manifest. Paths are relative to the file. [Plugins of a deployment](../guide/plugins.md) says how it is used, and what the lock beside it is.',
      ],
    },
  ],
]

test.each(pages)(
  'the committed reference of %s is that of the schema (write it anew: `pnpm vitest run apps/host/src/config/reference.test.ts -u`)',
  async (name, { file, schema, text }) => {
    const shape = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
    const lines = [`# ${name}`, '', ...text, '', '| key | kind | |', '| --- | --- | --- |', ...rows(shape, ''), '']
    await expect(lines.join('\n')).toMatchFileSnapshot(join(reference, file))
  },
)
