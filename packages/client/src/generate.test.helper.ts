/** TypeScript of an OpenAPI document: an interface for each component, and one table of operations. Covers what our document uses. */

interface Schema {
  $ref?: string
  type?: string | string[]
  description?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  oneOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
}

interface Operation {
  operationId: string
  summary: string
  description?: string
  parameters?: { in: string; name: string; required?: boolean; schema: Schema; description?: string }[]
  requestBody?: { required?: boolean; content: Record<string, { schema: Schema }> }
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>
}

export interface OpenApi {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

export function typesOf(document: OpenApi): string {
  const operations = Object.entries(document.paths)
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })))
    .sort((a, b) => (a.operation.operationId < b.operation.operationId ? -1 : 1))
  return [
    '// Made from docs/reference/openapi.json by the test beside this folder. Not for editing.',
    '',
    ...Object.entries(document.components.schemas).flatMap(([name, schema]) => [
      ...comment(schema.description, ''),
      schema.properties === undefined
        ? `export type ${name} = ${typeOf(schema, '')}`
        : `export interface ${name} ${objectOf(schema, '')}`,
      '',
    ]),
    '/** What each operation takes and answers; `binary` is bytes. */',
    'export interface Operations {',
    ...operations.flatMap(({ operation }) => [
      ...comment([operation.summary, operation.description].filter(Boolean).join('. '), '  '),
      `  ${operation.operationId}: {`,
      `    params: ${parametersOf(operation, 'path')}`,
      `    query: ${parametersOf(operation, 'query')}`,
      `    body: ${bodyOf(operation)}`,
      `    answer: ${answerOf(operation)}`,
      '  }',
    ]),
    '}',
    '',
    'export const operations: { readonly [K in keyof Operations]: { method: string; path: string } } = {',
    ...operations.map(
      ({ path, method, operation }) => `  ${operation.operationId}: { method: '${method.toUpperCase()}', path: '${path}' },`,
    ),
    '}',
    '',
  ].join('\n')
}

function typeOf(schema: Schema, indent: string): string {
  if (schema.$ref !== undefined) return schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)
  if (schema.const !== undefined) return literal(schema.const)
  if (schema.enum !== undefined) return schema.enum.map(literal).join(' | ')
  const either = schema.anyOf ?? schema.oneOf
  if (either !== undefined) return either.map((one) => typeOf(one, indent)).join(' | ')
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type }, indent)).join(' | ')
  switch (schema.type) {
    case 'string':
      return 'string'
    case 'number':
    case 'integer':
      return 'number'
    case 'boolean':
      return 'boolean'
    case 'null':
      return 'null'
    case 'array': {
      const item = typeOf(schema.items ?? {}, indent)
      return item.includes('|') ? `(${item})[]` : `${item}[]`
    }
    case 'object':
      return schema.properties === undefined
        ? `Record<string, ${typeof schema.additionalProperties === 'object' ? typeOf(schema.additionalProperties, indent) : 'unknown'}>`
        : objectOf(schema, indent)
    case undefined:
      return 'unknown'
    default:
      throw new Error(`no type for ${JSON.stringify(schema)}`)
  }
}

function objectOf(schema: Schema, indent: string): string {
  const inner = `${indent}  `
  const lines = Object.entries(schema.properties ?? {}).flatMap(([name, property]) => [
    ...comment(property.description, inner),
    `${inner}${key(name)}${schema.required?.includes(name) === true ? '' : '?'}: ${typeOf(property, inner)}`,
  ])
  return lines.length === 0 ? 'Record<string, never>' : `{\n${lines.join('\n')}\n${indent}}`
}

function parametersOf(operation: Operation, where: string): string {
  const found = (operation.parameters ?? []).filter((one) => one.in === where)
  if (found.length === 0) return 'undefined'
  const properties = Object.fromEntries(
    found.map((one) => [one.name, { ...one.schema, ...(one.description === undefined ? {} : { description: one.description }) }]),
  )
  return objectOf({ properties, required: found.filter((one) => one.required === true).map((one) => one.name) }, '    ')
}

function bodyOf({ requestBody }: Operation): string {
  if (requestBody === undefined) return 'undefined'
  const json = requestBody.content['application/json']
  return json === undefined ? 'Uint8Array' : typeOf(json.schema, '    ')
}

function answerOf({ responses }: Operation): string {
  const good = Object.entries(responses).find(([status]) => status.startsWith('2'))?.[1]
  const json = good?.content?.['application/json']
  if (json !== undefined) return typeOf(json.schema, '    ')
  return good?.content === undefined ? 'undefined' : "'binary'"
}

function comment(text: string | undefined, indent: string): string[] {
  return text === undefined || text === '' ? [] : [`${indent}/** ${text.replaceAll('\n', ' ')} */`]
}

function key(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : `'${name}'`
}

function literal(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value)
}
