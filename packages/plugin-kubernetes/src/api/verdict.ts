/** What an API server's failures mean: one table from status, reason and words to the contract's codes. */
import { type Effect, ProviderError, type ProviderErrorCode, type ThrottleScope } from '@muster/core'
import { CERTIFICATE_CODES, NO_TLS_CODES } from '@muster/provider-parts/tls'
import { ApiFailure, isAbort } from './failure.ts'

/** One row: what to look for, and what it means. The first row that fits wins. */
interface VerdictRow {
  status?: readonly number[]
  reason?: readonly string[]
  systemCode?: readonly string[]
  words?: RegExp
  code: ProviderErrorCode
  /** Default: `none` for a refusal (status 4xx) and for what was never sent, `possible` otherwise. */
  effect?: Effect
  path?: string
  hint?: string
  retryAfterMs?: number
  scope?: ThrottleScope
}

/** API servers say `Retry-After: 1` to whom they turn away; the same where one says nothing. */
const THROTTLED_RETRY_MS = 1_000

const verdicts: readonly VerdictRow[] = [
  // No answer.
  {
    systemCode: ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'],
    code: 'transient',
    hint: 'Make sure that the API server runs and is reached from here; its address is `server` of the kubeconfig.',
  },
  { systemCode: ['EMFILE', 'ENFILE'], code: 'transient', hint: "The plugin's process has no free file descriptor." },
  { systemCode: ['NOT_HTTPS'], code: 'auth', hint: 'Give the cluster an `https` server, or use it over loopback.' },
  { systemCode: ['BAD_KUBECONFIG'], code: 'auth', hint: 'Correct the kubeconfig, or the context that is named for it.' },
  {
    systemCode: ['EXEC_CREDENTIAL'],
    code: 'auth',
    hint: "Run the kubeconfig's exec command by hand: it must print an ExecCredential.",
  },
  {
    systemCode: CERTIFICATE_CODES,
    code: 'auth',
    effect: 'none',
    hint: "The API server's certificate is not one of the kubeconfig's authority, or not for this address.",
  },
  { systemCode: NO_TLS_CODES, code: 'transient', hint: 'What listens there does not speak TLS.' },

  {
    systemCode: ['BAD_POSITION'],
    code: 'invalid-spec',
    path: 'cursor',
    hint: 'A place in a log is one that an earlier part of it was given with.',
  },

  // Who asks, and what of.
  {
    status: [401],
    code: 'auth',
    hint: 'The cluster does not know this user: renew the token or the certificate of the kubeconfig.',
  },
  {
    words: /exceeded quota: /,
    code: 'quota',
    hint: 'Raise the ResourceQuota of the namespace, or wait until other workers end.',
  },
  {
    words: /status unknown for quota: /,
    code: 'transient',
    hint: 'The ResourceQuota of the namespace is new: the cluster counts what there is first.',
  },
  {
    status: [409],
    words: /operation cannot be fulfilled on resourcequotas/i,
    code: 'transient',
    hint: 'Many were created at once in a namespace with a quota.',
  },
  {
    words: /because it is being terminated|namespace .* is being terminated/i,
    code: 'transient',
    hint: 'The namespace is being deleted: create it again, or use another one.',
  },
  {
    words: /violates PodSecurity|unable to validate against any security context constraint/,
    code: 'unsupported',
    path: 'security',
    hint: 'The namespace enforces a Pod Security level: weaken it there, or strengthen the security of the pool.',
  },
  {
    words: /failed quota: [^:]+: must specify/,
    code: 'invalid-spec',
    path: 'resources',
    hint: 'A ResourceQuota of the namespace wants each worker to say what it needs: give the pool `resources`, or the namespace a LimitRange.',
  },
  {
    words: /(?:maximum|minimum) \S+ usage per|max limit to request ratio/i,
    code: 'invalid-spec',
    path: 'resources',
    hint: 'A LimitRange of the namespace bounds what one worker may have: fit `resources` of the pool, or its `settings.limits`, to it, or change it.',
  },
  { words: /no PriorityClass with name/i, code: 'invalid-spec', path: 'settings.priorityClass' },
  { words: /RuntimeClass "[^"]*" not found/i, code: 'invalid-spec', path: 'settings.runtimeClass' },
  {
    words: /error looking up service account/i,
    code: 'transient',
    hint: 'The service account does not exist (yet): a new namespace gets its default one within seconds.',
  },
  {
    words: /admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request/i,
    code: 'invalid-spec',
    effect: 'none',
    hint: 'A policy of the cluster refuses it; its words say why.',
  },
  // Admission comes before anything is stored.
  {
    words: /failed calling webhook/i,
    code: 'transient',
    effect: 'none',
    hint: 'A webhook of the cluster does not answer: its service is down, or slow.',
  },
  // Rights are judged before the object is looked at, and in words that begin with the user.
  {
    status: [403],
    words: / is forbidden: (?!User ")/,
    code: 'invalid-spec',
    effect: 'none',
    hint: 'A rule of the cluster or of the namespace does not take this worker; its words say which.',
  },
  { status: [403], code: 'auth', hint: 'Grant what the words name: the plugin prints the Role that it needs.' },

  // What a container runtime says of an image without a shell.
  {
    words: /exec: "\/bin\/sh": stat \/bin\/sh: no such file/,
    code: 'unsupported',
    effect: 'none',
    path: 'image',
    hint: 'Use an image with /bin/sh: what reaches into a worker needs it there.',
  },

  // Load.
  { status: [429], code: 'throttled', effect: 'none', scope: 'all', retryAfterMs: THROTTLED_RETRY_MS },
  { words: /database space exceeded/i, code: 'capacity', effect: 'none', hint: "The cluster's etcd is full." },
  { reason: ['ServerTimeout', 'Timeout'], code: 'transient' },
  { status: [500, 502, 503, 504], code: 'transient' },

  // The state it is in.
  { reason: ['AlreadyExists'], code: 'conflict' },
  { status: [409], code: 'conflict' },
  { status: [410], code: 'transient', hint: 'It was asked for a version that the cluster has forgotten.' },
  {
    status: [404],
    words: /namespaces "[^"]*" not found/,
    code: 'not-found',
    hint: 'The namespace does not exist: create it first.',
  },
  { status: [404], code: 'not-found' },

  // What was asked for.
  { status: [400, 413, 422], code: 'invalid-spec' },
  { status: [405, 406, 415], code: 'unsupported', hint: 'The API server is older than this call, or no API server.' },
]

/** The surroundings in which a failure is judged. */
export interface Judgement {
  /** What was being done, as `create the pod`: begins the message. */
  doing: string
  /** The call's signal says that its time is up: an abort is then `deadline`, else `cancelled`. */
  timedOut?: boolean
  /** False for a request that changes nothing: its effect is always `none`. */
  mutates: boolean
}

/** Judges anything thrown while a cluster was asked. A ProviderError passes as it is. */
export function toKubernetesError(thrown: unknown, { doing, timedOut = false, mutates }: Judgement): ProviderError {
  if (thrown instanceof ProviderError) return thrown
  if (isAbort(thrown)) {
    const late = timedOut || (thrown as Error).name === 'TimeoutError'
    const message = late ? `the deadline passed before the cluster could ${doing}` : `given up: ${doing}`
    return new ProviderError(late ? 'deadline' : 'cancelled', message, { effect: mutates ? 'possible' : 'none' })
  }
  const failure = thrown instanceof ApiFailure ? thrown : undefined
  const row = failure === undefined ? undefined : verdicts.find((candidate) => fits(candidate, failure))
  const code = row?.code ?? codeWithout(failure)
  const path = pathOf(row, failure)
  const retryAfterMs = failure?.retryAfterMs ?? row?.retryAfterMs
  const quota = /exceeded quota: ([^,]+)/.exec(failure?.message ?? '')?.[1]
  return new ProviderError(code, `cannot ${doing}: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
    effect: mutates ? effectOf(row, failure) : 'none',
    ...(row?.hint === undefined ? {} : { hint: row.hint }),
    ...(path === undefined ? {} : { path }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(row?.scope === undefined ? {} : { scope: row.scope }),
    ...(code === 'quota' && quota !== undefined ? { quota } : {}),
    cause: thrown,
  })
}

function fits(row: VerdictRow, failure: ApiFailure): boolean {
  if (row.status !== undefined && (failure.status === undefined || !row.status.includes(failure.status))) return false
  if (row.reason !== undefined && (failure.reason === undefined || !row.reason.includes(failure.reason))) return false
  if (row.systemCode !== undefined && (failure.code === undefined || !row.systemCode.includes(failure.code))) return false
  return row.words === undefined || row.words.test(failure.message)
}

/** A connection that broke is the way to the cluster; a status nobody expects, or an error of no request, is ours to look at. */
function codeWithout(failure: ApiFailure | undefined): ProviderErrorCode {
  return failure !== undefined && failure.status === undefined ? 'transient' : 'internal'
}

/** The server names the field of its own object: better than none, where no row knows the field of ours. */
function pathOf(row: VerdictRow | undefined, failure: ApiFailure | undefined): string | undefined {
  return row?.path ?? (row?.code === 'invalid-spec' ? failure?.causes.find(({ field }) => field !== undefined)?.field : undefined)
}

function effectOf(row: VerdictRow | undefined, failure: ApiFailure | undefined): Effect {
  if (row?.effect !== undefined) return row.effect
  if (failure === undefined) return 'possible'
  if (!failure.sent) return 'none'
  return failure.status !== undefined && failure.status >= 400 && failure.status < 500 ? 'none' : 'possible'
}
