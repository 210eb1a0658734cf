import type { Call } from '@muster/core'
import { expect, test } from 'vitest'
import { ApiFailure } from './api/failure.ts'
import { asProviderError, changes, reads, specPath } from './errors.ts'

const callOf = (over: Partial<Call> = {}): Call => {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const rest = {
    idempotencyKey: '',
    epoch: 1,
    attempt: 1,
    log,
    trace: { traceparent: '' },
    secret: () => Promise.reject(new Error()),
  }
  return { signal: new AbortController().signal, deadline: 1000, now: () => 0, ...rest, ...over }
}

test.each([
  ['spec.containers[0].image', 'image'],
  ['spec.containers[0].resources.limits[memory]', 'resources'],
  ['spec.containers[0].volumeMounts[0].name', 'mounts'],
  ['spec.initContainers[1].image', 'services'],
  ['spec.tolerations[0].operator', 'settings.tolerations'],
  ['spec.nodeSelector', 'settings.nodeSelector'],
  ['spec.dnsPolicy', 'settings.template'],
  ['metadata.annotations', 'labels'],
  ['metadata.annotations[a b]', 'settings.template'],
  ['settings.priorityClass', 'settings.priorityClass'],
  ['security', 'security'],
])('the field %s is %s of a spec', (field, path) => {
  expect(specPath(field)).toBe(path)
})

test('a refused field is told as that of the spec', () => {
  const causes = [{ field: 'spec.containers[0].env[0].name', message: 'Invalid value' }]
  const failure = new ApiFailure('422: invalid', { status: 422, reason: 'Invalid', sent: true, causes })
  expect(asProviderError(failure, callOf(), changes('launch the worker'))).toMatchObject({
    code: 'invalid-spec',
    effect: 'none',
    path: 'env',
    message: 'cannot launch the worker: 422: invalid',
  })
})

test('a call that was given up says which of the two it was, whatever broke by it', () => {
  const leaving = new AbortController()
  leaving.abort()
  const broken = new ApiFailure('socket hang up', { sent: true })
  const given = (over: Partial<Call>): unknown =>
    asProviderError(broken, callOf({ signal: leaving.signal, ...over }), changes('x'))
  expect(given({})).toMatchObject({ code: 'cancelled', effect: 'possible' })
  expect(given({ now: () => 1000 })).toMatchObject({ code: 'deadline', effect: 'possible' })
  expect(asProviderError(broken, callOf(), reads('x'))).toMatchObject({ code: 'transient', effect: 'none' })
})
