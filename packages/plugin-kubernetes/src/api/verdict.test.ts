import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { ApiFailure, type FailureFacts, refusal } from './failure.ts'
import { toKubernetesError } from './verdict.ts'

const refused = (code: number, reason: string, message: string | object): ApiFailure => {
  const words = typeof message === 'string' ? { message } : message
  return refusal({ status: code, body: JSON.stringify({ kind: 'Status', code, reason, ...words }) })
}
const broken = (code: string, more: Partial<FailureFacts> = {}): ApiFailure =>
  new ApiFailure('broken', { code, sent: true, ...more })
const forbidden = (message: string): ApiFailure => refused(403, 'Forbidden', message)

const quota = 'pods "w1" is forbidden: exceeded quota: team, requested: pods=1, used: pods=5, limited: pods=5'
const range = 'pods "w1" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi'
const causes = { details: { causes: [{ reason: 'FieldValueInvalid', field: 'spec.containers[0].image' }] } }

test.each<[string, Error, object]>([
  ['no connection', broken('ECONNREFUSED', { sent: false }), { code: 'transient', effect: 'none' }],
  ['a lost connection', broken('ECONNRESET'), { code: 'transient', effect: 'possible' }],
  ['no answer in time', broken('ETIMEDOUT'), { code: 'transient', effect: 'possible' }],
  ['a strange certificate', broken('CERT_HAS_EXPIRED', { sent: false }), { code: 'auth', effect: 'none' }],
  ['a program without credentials', broken('EXEC_CREDENTIAL', { sent: false }), { code: 'auth', effect: 'none' }],
  ['an unknown user', refused(401, 'Unauthorized', 'Unauthorized'), { code: 'auth', effect: 'none' }],
  ['a missing right', forbidden('pods is forbidden: User "u" cannot create resource "pods"'), { code: 'auth', effect: 'none' }],
  ['a quota', forbidden(quota), { code: 'quota', effect: 'none', quota: 'team' }],
  [
    'a quota that is new',
    forbidden('pods "w1" is forbidden: status unknown for quota: team, resources: pods'),
    { code: 'transient', effect: 'none' },
  ],
  ['a gateway that lets nobody in', refusal({ status: 403, body: '<html>' }), { code: 'auth', effect: 'none' }],
  [
    'a path that is nobody’s to ask',
    forbidden('forbidden: User "system:anonymous" cannot get path "/version"'),
    { code: 'auth', effect: 'none' },
  ],
  [
    'a quota that wants to know what a worker needs',
    forbidden('pods "w1" is forbidden: failed quota: team: must specify limits.cpu for: worker; limits.memory for: worker'),
    { code: 'invalid-spec', effect: 'none', path: 'resources' },
  ],
  [
    'selectors that the namespace does not take',
    forbidden('pods "w1" is forbidden: pod node label selector conflicts with its namespace node label selector'),
    { code: 'invalid-spec', effect: 'none' },
  ],
  [
    'a constraint of OpenShift',
    forbidden('pods "w1" is forbidden: unable to validate against any security context constraint: [...]'),
    { code: 'unsupported', path: 'security' },
  ],
  ['a place in a log that is none', broken('BAD_POSITION', { sent: false }), { code: 'invalid-spec', path: 'cursor' }],
  [
    'a limit range',
    forbidden(range),
    { code: 'invalid-spec', path: 'resources', hint: expect.stringContaining('`resources`') as string },
  ],
  [
    'pod security',
    forbidden('pods "w1" is forbidden: violates PodSecurity "restricted:latest"'),
    { code: 'unsupported', path: 'security' },
  ],
  [
    'an ending namespace',
    forbidden('unable to create new content in namespace n because it is being terminated'),
    { code: 'transient', effect: 'none' },
  ],
  ['a policy', refused(400, '', 'admission webhook "p.test" denied the request: no'), { code: 'invalid-spec', effect: 'none' }],
  [
    'a webhook that hangs',
    refused(500, 'InternalError', 'failed calling webhook "p": context deadline exceeded'),
    { code: 'transient', effect: 'none' },
  ],
  [
    'an invalid field',
    refused(422, 'Invalid', { message: 'Pod is invalid', ...causes }),
    { code: 'invalid-spec', effect: 'none', path: 'spec.containers[0].image' },
  ],
  ['one that exists', refused(409, 'AlreadyExists', 'pods "w1" already exists'), { code: 'conflict', effect: 'none' }],
  [
    'many at once under a quota',
    refused(409, 'Conflict', 'Operation cannot be fulfilled on resourcequotas "team"'),
    { code: 'transient', effect: 'none' },
  ],
  ['one that is not there', refused(404, 'NotFound', 'pods "w1" not found'), { code: 'not-found', effect: 'none' }],
  [
    'too many requests',
    refusal({ status: 429, retryAfter: '3', body: '' }),
    { code: 'throttled', effect: 'none', retryAfterMs: 3000, scope: 'all' },
  ],
  [
    'a full store',
    refused(500, 'InternalError', 'etcdserver: mvcc: database space exceeded'),
    { code: 'capacity', effect: 'none' },
  ],
  ['a server that is busy', refused(504, 'Timeout', 'request timed out'), { code: 'transient', effect: 'possible' }],
  ['a gateway', refusal({ status: 502, body: '<html>' }), { code: 'transient', effect: 'possible' }],
  ['a status nobody expects', refusal({ status: 307, body: '' }), { code: 'internal', effect: 'possible' }],
  ['an error of no request', new TypeError('oops'), { code: 'internal', effect: 'possible' }],
  ['an abort', new DOMException('', 'AbortError'), { code: 'cancelled', effect: 'possible' }],
  ['the end of the time', new DOMException('', 'TimeoutError'), { code: 'deadline', effect: 'possible' }],
])('%s', (_, thrown, expected) => {
  expect(toKubernetesError(thrown, { doing: 'create the pod', mutates: true })).toMatchObject(expected)
  // What changes nothing has no effect, whatever becomes of it.
  expect(toKubernetesError(thrown, { doing: 'read the pod', mutates: false })).toMatchObject({ ...expected, effect: 'none' })
})

test('a ProviderError passes as it is, and messages say what was being done', () => {
  const error = new ProviderError('capacity', 'full')
  expect(toKubernetesError(error, { doing: 'x', mutates: true })).toBe(error)
  expect(toKubernetesError(forbidden('no'), { doing: 'create the pod', mutates: true }).message).toBe(
    'cannot create the pod: 403: no',
  )
})
