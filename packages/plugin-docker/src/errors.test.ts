import { ProviderError } from '@muster/core'
import { describe, expect, test } from 'vitest'
import { EngineFailure, errorTable, isAbort, isEnding, isGone, isStatus, toDockerError } from './errors.ts'

interface Example {
  message?: string
  status?: number
  code?: string
  sent?: boolean
  is: Record<string, unknown>
}

/** What engines and systems were seen to say (20.10 unless another is named), and what it means. */
const examples: readonly Example[] = [
  { code: 'ENOENT', sent: false, is: { code: 'transient', effect: 'none' } },
  { code: 'ECONNREFUSED', sent: false, is: { code: 'transient', effect: 'none' } },
  { code: 'EACCES', sent: false, is: { code: 'auth', effect: 'none' } },
  { code: 'ENOTFOUND', sent: false, is: { code: 'transient', effect: 'none' } },
  { code: 'EMFILE', sent: false, is: { code: 'transient', effect: 'none' } },
  { code: 'ECONNRESET', message: 'socket hang up', is: { code: 'transient', effect: 'possible' } },
  { code: 'EPIPE', message: 'write EPIPE', is: { code: 'transient', effect: 'possible' } },
  {
    code: 'SSH_HOST_KEY',
    sent: false,
    message: 'the machine shows the host key SHA256:a, known is SHA256:b',
    is: { code: 'auth', effect: 'none' },
  },
  {
    code: 'SSH_AUTH',
    sent: false,
    message: 'All configured authentication methods failed',
    is: { code: 'auth', effect: 'none' },
  },
  {
    code: 'SSH_PROHIBITED',
    sent: false,
    message: '(SSH) Channel open failure: open failed',
    is: { code: 'auth', effect: 'none' },
  },
  {
    code: 'SSH_CHANNEL',
    sent: false,
    message: '(SSH) Channel open failure: open failed',
    is: { code: 'transient', effect: 'none' },
  },
  { code: 'SSH_PROTOCOL', sent: false, message: 'Protocol version not supported', is: { code: 'transient', effect: 'none' } },
  { code: 'ERR_TLS_CERT_ALTNAME_INVALID', sent: false, is: { code: 'auth', effect: 'none' } },
  {
    code: 'TLS_CLIENT_REFUSED',
    message: 'the engine refused the client: bad certificate',
    sent: false,
    is: { code: 'auth', effect: 'none' },
  },
  { code: 'EPROTO', sent: false, is: { code: 'transient', effect: 'none' } },
  {
    status: 200,
    message: 'toomanyrequests: You have reached your pull rate limit.',
    is: { code: 'throttled', effect: 'none', scope: 'launch', retryAfterMs: 60_000 },
  },
  {
    status: 404,
    message:
      "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
    is: { code: 'invalid-spec', path: 'image' },
  },
  {
    status: 500,
    message: 'Get "http://127.0.0.1:5000/v2/x/manifests/1": no basic auth credentials',
    is: { code: 'auth', effect: 'none', path: 'image' },
  },
  { status: 500, message: 'unauthorized: authentication required', is: { code: 'auth', path: 'image' } },
  {
    status: 500,
    message: 'Get "https://r/v2/": x509: certificate signed by unknown authority',
    is: { code: 'unsupported', path: 'image', retryAfterMs: 5000 },
  },
  {
    status: 500,
    message: 'Get "https://r/v2/": http: server gave HTTP response to HTTPS client',
    is: { code: 'unsupported', path: 'image', retryAfterMs: 5000 },
  },
  {
    status: 404,
    message: 'no matching manifest for linux/arm64/v8 in the manifest list entries',
    is: { code: 'unsupported', path: 'arch' },
  },
  {
    status: 404,
    message: 'image with reference x was found but does not match the specified platform: wanted linux/arm64',
    is: { code: 'unsupported', path: 'arch' },
  },
  {
    status: 404,
    message: 'manifest for 127.0.0.1:5000/x:1 not found: manifest unknown: manifest unknown',
    is: { code: 'invalid-spec', path: 'image' },
  },
  {
    status: 400,
    message: 'invalid reference format: repository name must be lowercase',
    is: { code: 'invalid-spec', path: 'image' },
  },
  {
    status: 500,
    message: 'Get "https://images.example/v2/": dial tcp: lookup images.example: no such host',
    is: { code: 'transient', effect: 'none' },
  },
  { status: 500, message: 'write /var/lib/docker/x: no space left on device', is: { code: 'capacity', effect: 'possible' } },
  { status: 500, message: 'OCI runtime create failed: cannot allocate memory', is: { code: 'capacity' } },
  {
    status: 400,
    message: 'Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available',
    is: { code: 'unsupported', effect: 'none', path: 'resources.cpu' },
  },
  {
    status: 400,
    message: 'Requested CPUs are not available - requested 7, available: 0-1',
    is: { code: 'capacity', effect: 'none', path: 'settings.cpuset' },
  },
  {
    status: 500,
    message: 'could not select device driver "" with capabilities: [[gpu]]',
    is: { code: 'unsupported', path: 'resources.gpus', retryAfterMs: 5000 },
  },
  {
    status: 500,
    message: 'could not select device driver "none" with capabilities: [[tpu]]',
    is: { code: 'unsupported', path: 'settings.deviceRequests', retryAfterMs: undefined },
  },
  {
    status: 500,
    message: 'error gathering device information while adding custom device "/dev/none": no such file or directory',
    is: { code: 'unsupported', path: 'settings.devices', retryAfterMs: undefined },
  },
  {
    status: 400,
    message: 'OCI runtime create failed: runc create failed: unable to apply caps: operation not permitted: unknown',
    is: { code: 'unsupported', path: 'security' },
  },
  {
    status: 500,
    message: 'Decoding seccomp profile failed: json: cannot unmarshal string',
    is: { code: 'invalid-spec', path: 'settings.seccomp' },
  },
  {
    status: 500,
    message: 'could not find an available, non-overlapping IPv4 address pool among the defaults',
    is: { code: 'capacity' },
  },
  { status: 400, message: 'Minimum memory limit allowed is 6MB', is: { code: 'invalid-spec', path: 'resources.memoryBytes' } },
  { status: 400, message: 'invalid CapAdd: unknown capability: "CAP_FOO"', is: { code: 'invalid-spec', path: 'security' } },
  {
    status: 500,
    message: 'unable to find user nobodyx: no matching entries in passwd file',
    is: { code: 'invalid-spec', path: 'security.user' },
  },
  {
    status: 400,
    message: "the working directory 'x' is invalid, it needs to be an absolute path",
    is: { code: 'invalid-spec', path: 'workdir' },
  },
  // Podman 4.3.
  {
    status: 500,
    message: 'normalizing image: normalizing name for compat API: repository name must be lowercase',
    is: { code: 'invalid-spec', effect: 'none', path: 'image' },
  },
  {
    status: 500,
    message: 'determining run uid: user: unknown user error looking up user "nobody-here"',
    is: { code: 'invalid-spec', path: 'security.user' },
  },
  {
    status: 500,
    message: 'workdir "/etc/passwd" exists on container 83f5, but is not a directory',
    is: { code: 'invalid-spec', path: 'workdir' },
  },
  { status: 500, message: 'Cannot mkdir: /etc/passwd is not a directory', is: { code: 'invalid-spec', path: 'workdir' } },
  { status: 400, message: 'exec /bin/true: argument list too long', is: { code: 'invalid-spec', path: 'env' } },
  { status: 400, message: 'Duplicate mount point: /x', is: { code: 'invalid-spec', path: 'mounts' } },
  {
    status: 400,
    message: 'OCI runtime create failed: runc create failed: exec: "nope": executable file not found in $PATH: unknown',
    is: { code: 'invalid-spec', effect: 'none', path: 'work.command' },
  },
  {
    status: 400,
    message: 'OCI runtime create failed: exec: "/etc/passwd": permission denied: unknown',
    is: { code: 'invalid-spec', path: 'work.command' },
  },
  { status: 404, message: 'network bridge not found', is: { code: 'unsupported', path: 'network.egress', retryAfterMs: 5000 } },
  { status: 409, message: 'removal of container x is already in progress', is: { code: 'conflict', effect: 'none' } },
  { status: 404, message: 'No such container: x', is: { code: 'not-found', effect: 'none' } },
  { status: 404, message: 'Could not find the file /x in container y', is: { code: 'not-found', effect: 'none', path: 'path' } },
  { status: 404, message: 'no such file or directory', is: { code: 'not-found', effect: 'none', path: 'path' } },
  { status: 409, message: 'Container x is not running', is: { code: 'conflict', effect: 'none' } },
  { status: 500, message: 'Container x is not paused', is: { code: 'conflict', effect: 'none' } },
  { status: 500, message: 'container rootfs is marked read-only', is: { code: 'unsupported', path: 'security.readOnlyRoot' } },
  { status: 400, message: 'extraction point is not a directory', is: { code: 'invalid-spec', path: 'path' } },
  {
    status: 400,
    message: 'cannot overwrite directory "/x/full" with non-directory "/x"',
    is: { code: 'invalid-spec', path: 'path' },
  },
  {
    status: 500,
    message: 'Error processing tar file(exit status 1): archive/tar: invalid tar header',
    is: { code: 'invalid-spec', path: 'tar' },
  },
  {
    status: 400,
    message: 'client version 1.99 is too new. Maximum supported API version is 1.41',
    is: { code: 'unsupported', effect: 'none' },
  },
  { status: 403, message: 'forbidden by an authorization plugin', is: { code: 'auth', effect: 'none' } },
  { status: 429, message: 'slow down', is: { code: 'throttled', effect: 'none', scope: 'all', retryAfterMs: 1_000 } },
  { status: 400, message: 'bad parameter', is: { code: 'invalid-spec', effect: 'none' } },
  { status: 404, message: 'page not found', is: { code: 'not-found', effect: 'none' } },
  { status: 409, message: 'something else', is: { code: 'conflict', effect: 'none' } },
  { status: 500, message: 'something went wrong', is: { code: 'transient', effect: 'possible' } },
  { status: 200, message: 'filesystem layer verification failed', is: { code: 'transient' } },
  { status: 418, message: 'a teapot', is: { code: 'internal', effect: 'none' } },
]

const failureOf = ({ message = 'failed', status, code, sent = true }: Example): EngineFailure =>
  new EngineFailure(message, { status, code, sent })
const doing = { doing: 'work', mutates: true }

describe('the table', () => {
  test.each(examples)('$status $code $message', (example) => {
    const error = toDockerError(failureOf(example), doing)
    expect(error).toMatchObject(example.is)
    expect(error.message).toBe(`cannot work: ${example.message ?? 'failed'}`)
  })

  test('has no row that no example meets first', () => {
    const rowOf = (example: Example): number => {
      const failure = failureOf(example)
      return errorTable.findIndex(
        (row) =>
          (row.status === undefined || (failure.status !== undefined && row.status.includes(failure.status))) &&
          (row.systemCode === undefined || (failure.code !== undefined && row.systemCode.includes(failure.code))) &&
          (row.words === undefined || row.words.test(failure.message)),
      )
    }
    const met = new Set(examples.map(rowOf))
    expect(errorTable.filter((_, index) => !met.has(index))).toEqual([])
  })
})

test('a question has no effect, however it fails', () => {
  for (const example of examples) expect(toDockerError(failureOf(example), { doing: 'ask', mutates: false }).effect).toBe('none')
})

test('an abort before the deadline is `cancelled`, after it `deadline`', () => {
  const abort = new DOMException('aborted', 'AbortError')
  expect(toDockerError(abort, { ...doing, deadline: 100, now: 99 })).toMatchObject({ code: 'cancelled', effect: 'possible' })
  expect(toDockerError(abort, { ...doing, deadline: 100, now: 100 })).toMatchObject({ code: 'deadline', effect: 'possible' })
  expect(isAbort(new DOMException('late', 'TimeoutError'))).toBe(true)
  expect(isAbort('AbortError')).toBe(false)
})

test('a ProviderError passes, anything unknown is `internal`', () => {
  const error = new ProviderError('quota', 'full')
  expect(toDockerError(error, doing)).toBe(error)
  expect(toDockerError(new TypeError('x is undefined'), doing)).toMatchObject({ code: 'internal', effect: 'possible' })
  expect(toDockerError('a string', doing)).toMatchObject({ code: 'internal', message: 'cannot work: a string' })
})

test('isStatus looks at status and words', () => {
  const failure = new EngineFailure('removal is already in progress', { status: 409, sent: true })
  expect(isStatus(failure, 409)).toBe(true)
  expect(isStatus(failure, 409, /in progress/)).toBe(true)
  expect(isStatus(failure, 409, /not running/)).toBe(false)
  expect(isStatus(failure, 404)).toBe(false)
  expect(isStatus(new Error('409'), 409)).toBe(false)
})

test('a container that is gone or at its end, in the words of both engines', () => {
  const of = (status: number, message: string): EngineFailure => new EngineFailure(message, { status, sent: true })
  const [gone, ending] = [
    of(500, 'container 07 does not exist in database: no such container'),
    of(409, 'removal is already in progress'),
  ]
  const stopped = of(500, 'cannot remove container 43 as it could not be stopped: sending SIGKILL to container 43')
  expect([of(404, 'No such container'), gone, ending, stopped].map((failure) => [isGone(failure), isEnding(failure)])).toEqual([
    [true, false],
    [true, false],
    [false, true],
    [false, true],
  ])
})
