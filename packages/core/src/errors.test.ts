import { describe, expect, test } from 'vitest'
import { isProviderError, ProviderError, providerErrorCodes, reactions, toProviderError } from './errors.ts'

describe('the door for what was thrown', () => {
  test('an error of the contract passes as it is', () => {
    const own = new ProviderError('quota', 'full', { quota: 'vcpus' })
    expect(toProviderError(own)).toBe(own)
    expect(isProviderError(own)).toBe(true)
    expect(isProviderError(new Error('full'))).toBe(false)
  })

  test('an abort is cancelled, a time-out a deadline, each with what it said', () => {
    const abort = new DOMException('stop', 'AbortError')
    expect(toProviderError(abort)).toMatchObject({ code: 'cancelled', message: 'stop', effect: 'possible', cause: abort })
    const late = new DOMException('too late', 'TimeoutError')
    expect(toProviderError(late)).toMatchObject({ code: 'deadline', message: 'too late', effect: 'possible', cause: late })
  })

  test('anything else is a fault of the plugin', () => {
    const bug = new TypeError('x is undefined')
    expect(toProviderError(bug)).toMatchObject({ code: 'internal', message: 'the provider failed: x is undefined', cause: bug })
    expect(toProviderError('text', 'launch')).toMatchObject({ code: 'internal', message: 'launch: text', effect: 'possible' })
    expect(toProviderError(undefined)).toMatchObject({ code: 'internal', message: 'the provider failed: undefined' })
  })
})

describe('an error', () => {
  test('that says nothing of its effect may have had one', () => {
    expect(new ProviderError('transient', 'x')).toMatchObject({ effect: 'possible', name: 'ProviderError' })
    expect(new ProviderError('transient', 'x', { effect: 'none' }).effect).toBe('none')
  })

  test('has a cause only where one is given', () => {
    expect('cause' in new ProviderError('transient', 'x')).toBe(false)
    expect(new ProviderError('transient', 'x', { cause: 1 }).cause).toBe(1)
  })

  test.each([
    [undefined, undefined],
    [Number.NaN, undefined],
    [-1, 0],
    [0.1, 1],
    [1500, 1500],
    [Infinity, 86_400_000],
  ])('that asks for a pause of %s gets %s', (asked, given) => {
    expect(new ProviderError('throttled', 'x', asked === undefined ? {} : { retryAfterMs: asked }).retryAfterMs).toBe(given)
  })
})

test('what the host does about each code', () => {
  const rows = providerErrorCodes.map((code) => {
    const { text, ...flags } = reactions[code]
    expect(text).toMatch(/^[A-Z].*\.$/)
    const set = Object.entries(flags).filter(([, on]) => on)
    return [code, ...set.map(([name]) => name).sort()].join(' ')
  })
  expect(rows).toEqual([
    'capacity nextPlacement',
    'quota nextPlacement',
    'throttled retrySame',
    'auth degrades nextPlacement',
    'invalid-spec',
    'unsupported nextPlacement',
    'not-found',
    'conflict retrySame',
    'transient nextPlacement retrySame',
    'deadline nextPlacement retrySame',
    'cancelled',
    'internal nextPlacement pluginFault retrySame',
  ])
})
