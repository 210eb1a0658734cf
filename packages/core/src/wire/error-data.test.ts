import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ProviderError, type ProviderErrorOptions, providerErrorCodes } from '../errors.ts'
import { fromWireError, plainText, rpcInvalidParams, rpcMethodNotFound, toWireError, wireErrorSchema } from './error-data.ts'
import { maxErrorMessage, maxErrorText } from './limits.ts'

function fields(error: ProviderError): unknown {
  const { code, effect, message, hint, retryAfterMs, scope, path, quota } = error
  return { code, effect, message, hint, retryAfterMs, scope, path, quota }
}

describe('errors over the wire', () => {
  it('have the numbers of JSON-RPC, and no key for what was not said', () => {
    expect([rpcMethodNotFound, rpcInvalidParams]).toEqual([-32_601, -32_602])
    const { code, data } = toWireError(new ProviderError('internal', 'x', { effect: 'none' }))
    expect(code).toBe(-32_000)
    expect(Object.keys(data)).toEqual(['code', 'effect'])
  })

  it('keep every field', () => {
    const options: ProviderErrorOptions = {
      effect: 'none',
      hint: 'ask for more',
      retryAfterMs: 1500,
      scope: 'launch',
      path: 'resources.cpu',
      quota: 'vCPU',
    }
    for (const code of providerErrorCodes) {
      const error = new ProviderError(code, 'no room', { ...options, cause: new Error('secret cause') })
      const wire = wireErrorSchema.parse(JSON.parse(JSON.stringify(toWireError(error))))
      expect(fields(fromWireError(wire))).toEqual(fields(error))
      expect(JSON.stringify(wire)).not.toContain('secret cause')
      // Of the numbers that JSON-RPC leaves to a server.
      expect(wire.code).toBe(-32_000)
    }
  })

  it('always fit the schema, whatever an author puts in', () => {
    const text = fc.string({ maxLength: 5000, unit: 'binary' })
    const number = fc.oneof(fc.double(), fc.constant(Number.NaN), fc.constant(Number.POSITIVE_INFINITY), fc.constant(-1))
    fc.assert(
      fc.property(text, text, number, (message, other, retryAfterMs) => {
        const error = new ProviderError('throttled', message, { hint: other, path: other, quota: other, retryAfterMs })
        const wire = JSON.parse(JSON.stringify(toWireError(error))) as unknown
        expect(wireErrorSchema.safeParse(wire).error).toBeUndefined()
      }),
    )
  })

  it('are one line without control characters and with a cap', () => {
    expect(plainText('a\nb\t c\u001B[31m red\u0000\u202Eevil', 100)).toBe('a b c[31m redevil')
    expect(plainText('x'.repeat(maxErrorMessage + 1), maxErrorMessage)).toBe(`${'x'.repeat(maxErrorMessage - 1)}…`)
    expect(plainText(`${'x'.repeat(maxErrorText - 2)}\u{1F600}yy`, maxErrorText).isWellFormed()).toBe(true)
  })

  it('have what the caller takes out', () => {
    const wire = toWireError(new ProviderError('auth', 'bad hunter2'), (text) => text.replaceAll('hunter2', '[secret]'))
    expect(wire.message).toBe('bad [secret]')
  })
})
