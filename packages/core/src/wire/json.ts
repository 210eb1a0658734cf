/** JSON as it crosses the wire: UTF-8, and no key `__proto__` anywhere, so that no later copy can reach a prototype. */
import { isUtf8 } from 'node:buffer'

/** Parses one message. Throws Error with a plain reason. */
export function decodeJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw new Error('not UTF-8')
  const text = body.toString('utf8')
  const value = JSON.parse(text) as unknown
  if (mayNameProto(text) && namesProto(value)) throw new Error('a key __proto__')
  return value
}

/** Writes one value. Throws Error with a plain reason when it is no JSON value or has a key `__proto__`. */
export function encodeJson(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined
  if (text === undefined) throw new Error('not a JSON value')
  if (mayNameProto(text) && namesProto(JSON.parse(text))) throw new Error('a key __proto__')
  return text
}

/** A cheap look before the walk: the name itself, or an escape that could spell it. */
function mayNameProto(text: string): boolean {
  return text.includes('__proto__') || text.includes('\\u00')
}

function namesProto(value: unknown): boolean {
  const open = [value]
  while (open.length > 0) {
    const one = open.pop()
    if (typeof one !== 'object' || one === null) continue
    if (Object.hasOwn(one, '__proto__')) return true
    for (const part of Object.values(one)) open.push(part)
  }
  return false
}
