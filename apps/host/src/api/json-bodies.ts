/**
 * Bodies, as they are sent: none is decoded, and JSON is UTF-8. A name that could stand for the prototype of all objects is refused, and one
 * that stands twice in an object; both are told by their place.
 */
import type { FastifyRequest } from 'fastify'
import type { App } from './deps.ts'
import { placeOf } from './errors.ts'
import { twiceIn } from './json-names.ts'
import { ApiProblem } from './problems.ts'

/** Refuses what would be read as something else than was sent: another encoding, another charset. */
export function refuseEncoded(app: App): void {
  app.addHook('preParsing', async ({ raw: { headers, method } }: FastifyRequest) => {
    if (method === 'GET' || method === 'HEAD') return
    const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers
    if (encoding.trim().toLowerCase() !== 'identity')
      throw new ApiProblem('unsupported-media', `a body with the Content-Encoding ${shown(encoding)} is not taken`, {
        hint: 'Send it plain, without that header.',
      })
    const [, charset] = CHARSET.exec(type) ?? []
    if (charset !== undefined && !/^utf-?8$/i.test(charset))
      throw new ApiProblem('unsupported-media', `a body in the charset ${shown(charset)} is not taken`, {
        hint: 'Send it in UTF-8.',
      })
  })
}

/** The parameter of a media type (RFC 9110, 8.3.1), quoted or not. */
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]*)/i

/** A header may be as long as the whole head. */
function shown(text: string): string {
  return `'${text.slice(0, 40)}'`
}

export function readJsonBodies(app: App): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, text, done) => {
    // Only ever told by the callback.
    void parse(request, text, (error, body) => done(error === null ? ambiguityIn(text) : (poisonIn(text) ?? error), body))
  })
}

/** Of two values of one name the last would count: whoever wrote the first is not told. */
function ambiguityIn(text: string): ApiProblem | null {
  const twice = twiceIn(text)
  if (twice === undefined) return null
  return new ApiProblem('invalid-request', 'The request fails its schema.', {
    errors: [{ path: placeOf('body', twice), message: 'stands twice: keep one of the two' }],
  })
}

/** What is wrong with a body that is JSON all the same; undefined when it is none. */
function poisonIn(text: string): ApiProblem | undefined {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return undefined
  }
  // Not by recursion: nobody has said how deep it goes.
  const left: { value: unknown; path: string }[] = [{ value: body, path: 'body' }]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { value, path } = next
    if (typeof value !== 'object' || value === null) continue
    for (const [name, inner] of Object.entries(value)) {
      if (name === '__proto__' || (name === 'constructor' && holdsPrototype(inner)))
        return new ApiProblem('invalid-request', 'The request fails its schema.', {
          errors: [{ path, message: `the name ${name} cannot be used` }],
        })
      left.push({ value: inner, path: `${path}.${name}` })
    }
  }
  return undefined
}

function holdsPrototype(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'prototype')
}
