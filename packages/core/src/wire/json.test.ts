import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeJson, encodeJson } from './json.ts'

describe('JSON on the wire', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        expect(decodeJson(Buffer.from(encodeJson(value)))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  it.each(['{"__proto__":{"admin":true}}', '{"a":[{"b":{"__proto__":1}}]}', String.raw`{"\u005f\u005fproto\u005f\u005f":1}`])(
    'refuses a key that could reach a prototype: %s',
    (text) => {
      expect(() => decodeJson(Buffer.from(text))).toThrow('__proto__')
      expect(() => encodeJson(JSON.parse(text))).toThrow('__proto__')
    },
  )

  it('lets the word stand in a value', () => {
    const value = { text: 'a "__proto__": b', control: '\u0001' }
    expect(decodeJson(Buffer.from(encodeJson(value)))).toEqual(value)
  })

  it('refuses what is not UTF-8, not JSON, or no value', () => {
    expect(() => decodeJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow('UTF-8')
    expect(() => decodeJson(Buffer.from('{'))).toThrow(SyntaxError)
    expect(() => encodeJson(undefined)).toThrow('not a JSON value')
    expect(() => encodeJson(1n)).toThrow(TypeError)
  })
})
