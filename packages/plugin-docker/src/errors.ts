/** What the engine's failures mean: one table from status and words to the contract's codes. */
import { type Effect, ProviderError, type ProviderErrorCode, type ThrottleScope } from '@muster/core'
import { CERTIFICATE_CODES, NO_TLS_CODES } from '@muster/provider-parts/tls'

/** A failure of one request to the engine, before it is judged. */
export class EngineFailure extends Error {
  override readonly name = 'EngineFailure'
  /** The HTTP status; absent when there was no answer. */
  readonly status: number | undefined
  /** The system's error code, as `ECONNREFUSED`. */
  readonly code: string | undefined
  /** Could the engine have read the request? */
  readonly sent: boolean

  constructor(
    message: string,
    facts: { status?: number | undefined; code?: string | undefined; sent: boolean; cause?: unknown },
  ) {
    super(message, { cause: facts.cause })
    this.status = facts.status
    this.code = facts.code
    this.sent = facts.sent
  }
}

/** One row: what to look for, and what it means. The first row that fits wins. */
export interface ErrorRow {
  status?: readonly number[]
  systemCode?: readonly string[]
  words?: RegExp
  code: ProviderErrorCode
  /** Default: `none` for a refusal (status 4xx), `possible` otherwise. */
  effect?: Effect
  path?: string
  hint?: string
  retryAfterMs?: number
  scope?: ThrottleScope
}

/** A registry's pull limit is counted over hours; a minute keeps the queue moving without a storm. */
const PULL_LIMIT_RETRY_MS = 60_000
/** Of what only the state of the engine's machine is in the way: whoever mends it there does so in seconds at best. */
export const MENDED_RETRY_MS = 5000

export const errorTable: readonly ErrorRow[] = [
  // No answer.
  {
    systemCode: ['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'],
    code: 'transient',
    effect: 'none',
    hint: "Start the Docker engine, or correct `socket` or `address` in the provider's config.",
  },
  {
    systemCode: ['EACCES', 'EPERM'],
    code: 'auth',
    effect: 'none',
    hint: "Let the host's user open the engine's socket, for example through the group `docker`.",
  },
  { systemCode: ['EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'], code: 'transient', effect: 'none' },
  {
    systemCode: ['EMFILE', 'ENFILE'],
    code: 'transient',
    effect: 'none',
    hint: "The plugin's process has no free file descriptor.",
  },

  // The way to the engine.
  {
    systemCode: ['SSH_HOST_KEY'],
    code: 'auth',
    effect: 'none',
    hint: "Make sure that it is the right machine; then correct `ssh.hostKeys` in the provider's config.",
  },
  {
    systemCode: ['SSH_AUTH', 'SSH_KEY'],
    code: 'auth',
    effect: 'none',
    hint: 'The machine must know the public key of the secret `ssh-key` for the user of `ssh.url`.',
  },
  {
    systemCode: ['SSH_PROHIBITED'],
    code: 'auth',
    effect: 'none',
    hint: "Let the machine's sshd forward to unix sockets: `AllowStreamLocalForwarding yes`.",
  },
  {
    systemCode: ['SSH_CHANNEL'],
    code: 'transient',
    effect: 'none',
    hint: 'Start the Docker engine of that machine, correct `socket`, or let the user of `ssh.url` open it.',
  },
  {
    systemCode: ['SSH_PROTOCOL'],
    code: 'transient',
    effect: 'none',
    hint: 'What listens at `ssh.url` does not speak as an OpenSSH server.',
  },
  {
    systemCode: CERTIFICATE_CODES,
    code: 'auth',
    effect: 'none',
    hint: "The engine's certificate is not the one that `address`, `tls.name` and the secret `tls-ca` stand for.",
  },
  {
    systemCode: ['ERR_TLS_MATERIAL', 'TLS_CLIENT_REFUSED'],
    code: 'auth',
    effect: 'none',
    hint: 'The engine wants a certificate that its own authority signed: see the secrets `tls-cert` and `tls-key`.',
  },
  {
    systemCode: NO_TLS_CODES,
    code: 'transient',
    effect: 'none',
    hint: 'What listens at `address` does not speak TLS.',
  },

  // The registry, asked by the engine; most of these come as status 500 or inside a stream of status 200.
  {
    words: /toomanyrequests|pull rate limit/i,
    code: 'throttled',
    effect: 'none',
    scope: 'launch',
    retryAfterMs: PULL_LIMIT_RETRY_MS,
  },
  {
    words: /repository does not exist or may require/i,
    code: 'invalid-spec',
    effect: 'none',
    path: 'image',
    hint: "Correct the image's name; if it is private, name its registry in `images.logins`.",
  },
  {
    words: /no basic auth credentials|unauthorized|authentication required|access to the resource is denied|401 unauthorized/i,
    code: 'auth',
    effect: 'none',
    path: 'image',
    hint: 'The registry wants a login, or another one: see `images.logins` and the secret `registry-logins`.',
  },
  {
    words: /x509:|server gave HTTP response to HTTPS client|tls: failed to verify/i,
    code: 'unsupported',
    effect: 'none',
    path: 'image',
    hint: "Give the engine the registry's certificate authority, or list it under `insecure-registries`.",
    retryAfterMs: MENDED_RETRY_MS,
  },
  {
    words: /no matching manifest for|does not match the specified platform|no match for platform/i,
    code: 'unsupported',
    effect: 'none',
    path: 'arch',
    hint: 'The image has no variant for this operating system and processor.',
  },
  {
    words: /manifest unknown|manifest for .* not found|name unknown|repository name not known|failed to resolve reference/i,
    code: 'invalid-spec',
    effect: 'none',
    path: 'image',
    hint: "Correct the image's name and tag.",
  },
  {
    words: /invalid reference format|invalid repository name|repository name must be lowercase/i,
    code: 'invalid-spec',
    effect: 'none',
    path: 'image',
  },
  {
    words: /dial tcp|i\/o timeout|TLS handshake timeout|request canceled|connection reset by peer|unexpected EOF|no such host/i,
    code: 'transient',
    effect: 'none',
    hint: "The engine did not reach the image's registry.",
  },

  // Room on the machine.
  {
    words: /no space left on device|disk quota exceeded/i,
    code: 'capacity',
    hint: "Free space on the engine's disk: `docker system df` shows what uses it.",
  },
  { words: /cannot allocate memory|resource temporarily unavailable|too many open files/i, code: 'capacity' },
  { words: /range of cpus is from/i, code: 'unsupported', effect: 'none', path: 'resources.cpu' },
  { words: /requested cpus are not available/i, code: 'capacity', effect: 'none', path: 'settings.cpuset' },
  { words: /could not find an available.*address pool|no available ip/i, code: 'capacity' },

  // What was asked for.
  {
    words: /could not select device driver .*gpu/i,
    code: 'unsupported',
    path: 'resources.gpus',
    hint: 'The engine has no driver for GPUs: install the container toolkit of their maker.',
    retryAfterMs: MENDED_RETRY_MS,
  },
  { words: /could not select device driver/i, code: 'unsupported', path: 'settings.deviceRequests' },
  { words: /error gathering device information/i, code: 'unsupported', path: 'settings.devices' },
  {
    words: /unable to apply caps/i,
    code: 'unsupported',
    path: 'security',
    hint: "The engine's machine has not got a capability that was asked for.",
  },
  { words: /decoding seccomp profile|seccomp.*(?:unknown|invalid|unsupported)/i, code: 'invalid-spec', path: 'settings.seccomp' },
  { words: /minimum memory limit/i, code: 'invalid-spec', effect: 'none', path: 'resources.memoryBytes' },
  { words: /unknown capability|invalid Cap(?:Add|Drop)/i, code: 'invalid-spec', effect: 'none', path: 'security' },
  {
    words: /unable to find (?:user|group)|no matching entries in (?:passwd|group)|unknown (?:user|group) error/i,
    code: 'invalid-spec',
    path: 'security.user',
  },
  {
    words: /working directory .* is invalid|workdir .* is not a directory|cannot mkdir|chdir to cwd|mkdir .*: not a directory/i,
    code: 'invalid-spec',
    path: 'workdir',
  },
  { words: /argument list too long/i, code: 'invalid-spec', path: 'env' },
  { words: /invalid mount (?:config|path|target|specification)|duplicate mount point/i, code: 'invalid-spec', path: 'mounts' },
  {
    words: /executable file not found|stat .*: no such file or directory|exec: .*permission denied|exec format error/i,
    code: 'invalid-spec',
    path: 'work.command',
  },
  { words: /network \S+ not found/i, code: 'unsupported', effect: 'none', path: 'network.egress', retryAfterMs: MENDED_RETRY_MS },

  // The state it is in.
  {
    status: [409],
    words: /removal of container .* is already in progress|marked for removal/i,
    code: 'conflict',
    effect: 'none',
  },
  { status: [404], words: /no such container|no such exec/i, code: 'not-found', effect: 'none' },
  { status: [404], words: /could not find the file|no such file or directory/i, code: 'not-found', effect: 'none', path: 'path' },
  { words: /is not running|is paused|is already paused|is not paused|container stopped/i, code: 'conflict', effect: 'none' },
  { words: /container rootfs is marked read-only/i, code: 'unsupported', effect: 'none', path: 'security.readOnlyRoot' },
  { words: /extraction point is not a directory|not a directory/i, code: 'invalid-spec', effect: 'none', path: 'path' },
  // The second is Podman's.
  {
    words: /cannot overwrite (?:non-)?directory|copier: put: .*(?:file exists|(?:is|not) a directory)/i,
    code: 'invalid-spec',
    path: 'path',
  },
  { words: /error processing tar|invalid tar header/i, code: 'invalid-spec', path: 'tar' },
  { words: /client version .* is too (?:new|old)/i, code: 'unsupported', effect: 'none' },

  // By status alone.
  { status: [401, 403], code: 'auth', effect: 'none' },
  { status: [429], code: 'throttled', effect: 'none', scope: 'all', retryAfterMs: 1_000 },
  { status: [400, 406], code: 'invalid-spec', effect: 'none' },
  { status: [404], code: 'not-found', effect: 'none' },
  { status: [409], code: 'conflict', effect: 'none' },
  // A failure inside a stream comes after status 200.
  { status: [200, 500, 502, 503, 504], code: 'transient' },
]

/** The surroundings in which a failure is judged. */
export interface Judgement {
  /** What was being done, as `create the container`: begins the message. */
  doing: string
  /** The call's end: an abort at or after it is `deadline`, before it `cancelled`. */
  deadline?: number
  now?: number
  /** The call's signal says that its time is up: a timer may be a little before the clock. */
  timedOut?: boolean
  /** The path in the worker that was asked for: named instead of the field. */
  place?: string | undefined
  /** False for a request that changes nothing: its effect is always `none`. */
  mutates: boolean
}

/** Judges anything thrown while the engine was asked. A ProviderError passes as it is. */
export function toDockerError(thrown: unknown, judgement: Judgement): ProviderError {
  if (thrown instanceof ProviderError) return thrown
  const { doing, mutates } = judgement
  if (isAbort(thrown)) return abortError(judgement)
  const failure = thrown instanceof EngineFailure ? thrown : undefined
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  const row = failure === undefined ? undefined : errorTable.find((candidate) => fits(candidate, failure))
  const code = row?.code ?? (failure?.status === undefined && failure !== undefined ? 'transient' : 'internal')
  return new ProviderError(code, `cannot ${doing}: ${text}`, {
    effect: mutates ? effectOf(row, failure) : 'none',
    ...(row?.hint === undefined ? {} : { hint: row.hint }),
    ...(row?.path === undefined ? {} : { path: row.path === 'path' ? (judgement.place ?? row.path) : row.path }),
    ...(row?.retryAfterMs === undefined ? {} : { retryAfterMs: row.retryAfterMs }),
    ...(row?.scope === undefined ? {} : { scope: row.scope }),
    cause: thrown,
  })
}

/** The error of a call that was given up. */
export function abortError({ doing, deadline, now, timedOut = false, mutates }: Judgement): ProviderError {
  const late = timedOut || (deadline !== undefined && now !== undefined && now >= deadline)
  const message = late ? `the deadline passed before the engine could ${doing}` : `given up: ${doing}`
  return new ProviderError(late ? 'deadline' : 'cancelled', message, { effect: mutates ? 'possible' : 'none' })
}

export function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError')
}

/** Did the engine answer with this status (and these words)? */
export function isStatus(thrown: unknown, status: number, words?: RegExp): boolean {
  return thrown instanceof EngineFailure && thrown.status === status && (words === undefined || words.test(thrown.message))
}

/** A create whose name another container has: Docker says 409, podman 500. */
export function isNameTaken(thrown: unknown): boolean {
  return isStatus(thrown, 409) || isStatus(thrown, 500, /name .* is already in use/i)
}

/** Is there no such container? Docker says 404, podman says 500 while it is removed. */
export function isGone(thrown: unknown): boolean {
  return isStatus(thrown, 404) || isStatus(thrown, 500, /no such container/i)
}

/** Is somebody at its end already? Docker says 409, podman that it could not stop what was just stopped. */
export function isEnding(thrown: unknown): boolean {
  return isStatus(thrown, 409, /already in progress/i) || isStatus(thrown, 500, /could not be stopped|container state improper/i)
}

function fits(row: ErrorRow, failure: EngineFailure): boolean {
  if (row.status !== undefined && (failure.status === undefined || !row.status.includes(failure.status))) return false
  if (row.systemCode !== undefined && (failure.code === undefined || !row.systemCode.includes(failure.code))) return false
  return row.words === undefined || row.words.test(failure.message)
}

function effectOf(row: ErrorRow | undefined, failure: EngineFailure | undefined): Effect {
  if (row?.effect !== undefined) return row.effect
  if (failure === undefined) return 'possible'
  if (!failure.sent) return 'none'
  return failure.status !== undefined && failure.status >= 400 && failure.status < 500 ? 'none' : 'possible'
}
