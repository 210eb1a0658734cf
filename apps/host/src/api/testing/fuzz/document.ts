/** The parts of an OpenAPI document that requests are made from and answers are judged by. */

export interface Schema {
  $ref?: string
  type?: string | string[]
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  oneOf?: Schema[]
  allOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  propertyNames?: Schema
  pattern?: string
  format?: string
  minLength?: number
  maxLength?: number
  minItems?: number
  minimum?: number
  maximum?: number
}

export interface Parameter {
  in: 'path' | 'query' | 'header'
  name: string
  required?: boolean
  schema: Schema
}

export interface DocumentedAnswer {
  content?: Record<string, { schema: Schema }>
}

interface RawOperation {
  operationId: string
  parameters?: Parameter[]
  security?: Record<string, unknown>[]
  requestBody?: { content: Record<string, { schema: Schema }> }
  responses: Record<string, DocumentedAnswer & { $ref?: string }>
}

export interface OpenApiDocument {
  paths: Record<string, Record<string, RawOperation>>
  components: { schemas: Record<string, Schema>; responses: Record<string, DocumentedAnswer> }
}

export interface Operation {
  id: string
  method: string
  path: string
  parameters: Parameter[]
  /** `token`, `ticket` or `session`; of those that take one. */
  bearer: string
  body: { type: string; schema: Schema } | undefined
  answers: Record<string, DocumentedAnswer>
}

export function operationsOf(document: OpenApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, raw]) => {
      const [body] = Object.entries(raw.requestBody?.content ?? {})
      return {
        id: raw.operationId,
        method: method.toUpperCase(),
        path,
        parameters: raw.parameters ?? [],
        bearer: Object.keys(raw.security?.[0] ?? { token: [] })[0] ?? 'token',
        body: body === undefined ? undefined : { type: body[0], schema: body[1].schema },
        answers: Object.fromEntries(
          Object.entries(raw.responses).map(([status, answer]) => [status, resolved(document, answer)]),
        ),
      }
    }),
  )
}

function resolved(document: OpenApiDocument, answer: DocumentedAnswer & { $ref?: string }): DocumentedAnswer {
  if (answer.$ref === undefined) return answer
  const found = document.components.responses[answer.$ref.slice('#/components/responses/'.length)]
  if (found === undefined) throw new Error(`${answer.$ref} leads nowhere`)
  return found
}
