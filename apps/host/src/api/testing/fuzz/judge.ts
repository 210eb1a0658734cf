/** Is an answer one that the document names? */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import type { DocumentedAnswer, OpenApiDocument, Schema } from './document.ts'
import type { FuzzRequest } from './requests.ts'
import type { FuzzAnswer } from './wire.ts'

export interface Judge {
  /** What is wrong with it; undefined: nothing. */
  verdict(request: FuzzRequest, answer: FuzzAnswer): string | undefined
}

/** Where no operation answers: the path or the method leads nowhere, or the request is not HTTP. */
const NOWHERE = [400, 403, 404, 408, 413, 415, 431, 503, 507]

export function judge(document: OpenApiDocument): Judge {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: false })
  ajv.addSchema(document, 'openapi')
  const compiled = new Map<Schema, ValidateFunction>()
  const checks = (schema: Schema): ValidateFunction => {
    const kept = compiled.get(schema) ?? ajv.compile(absolute(schema) as object)
    compiled.set(schema, kept)
    return kept
  }
  const problem: DocumentedAnswer = {
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  }

  function verdict(request: FuzzRequest, answer: FuzzAnswer): string | undefined {
    const { status, type, text } = answer
    if (status === 500) return 'a fault'
    if ([429, 503, 507].includes(status) && !/^\d+$/.test(answer.retryAfter ?? '')) return `${status} without Retry-After`
    const documented = request.operation?.answers[status]
    const named =
      documented ??
      (NOWHERE.includes(status) && (request.operation === undefined || request.raw !== undefined) ? problem : undefined)
    // Where the path was bent, another operation may have answered: any that the document has.
    if (named === undefined)
      return request.operation === undefined && status < 500 ? undefined : `status ${status} is not documented`
    if (request.method === 'HEAD') return undefined
    if (named.content === undefined) return text === '' ? undefined : `${status} has a body`
    const found = Object.entries(named.content).find(([one]) => type?.split(';')[0] === one)
    if (found === undefined) return `content type ${type} of ${status} is not documented`
    const check = checks(found[1].schema)
    // The last line of a stream that was cut off may be half of one.
    const lines = found[0] === 'application/x-ndjson' ? text.split('\n').slice(0, -1) : [text]
    return found[0].includes('json')
      ? lines
          .filter((line) => line !== '')
          .map((line) => invalid(check, line))
          .find(Boolean)
      : undefined
  }
  return { verdict }
}

function invalid(check: ValidateFunction, text: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'the body is not JSON'
  }
  if (check(value)) return undefined
  return `the body is not as documented: ${JSON.stringify(check.errors)}`
}

/** References of the document, from outside it. */
function absolute(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(absolute)
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, key === '$ref' ? `openapi${String(value)}` : absolute(value)]),
  )
}
