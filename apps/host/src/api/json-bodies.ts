/** Bodies of JSON. A name that could stand for the prototype of all objects is refused, and told by its place. */
import type { App } from './deps.ts'
import { ApiProblem } from './problems.ts'

export function readJsonBodies(app: App): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, text, done) => {
    // Only ever told by the callback.
    void parse(request, text, (error, body) => done(error === null ? null : (poisonIn(text) ?? error), body))
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
