/** What the API server's failures mean: one table from status, reason and words to the contract's codes. */
import { type Effect, ProviderError, type ProviderErrorCode, type ThrottleScope } from '@muster/core'

/** A failure of one request, before it is judged. */
export interface Refusal {
  readonly message: string
  /** The HTTP status; absent when there was no answer. */
  readonly status?: number | undefined
  /** The `reason` of the API's Status, as `AlreadyExists`. */
  readonly reason?: string | undefined
  /** The system's error code, as `ECONNREFUSED`. */
  readonly code?: string | undefined
  /** Could the server have read the request? */
  readonly sent: boolean
  readonly retryAfterMs?: number | undefined
  /** The fields that a Status of reason `Invalid` names. */
  readonly fields?: readonly string[] | undefined
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

/** What a server that says nothing else is given to breathe. */
const BUSY_MS = 1_000

export const errorTable: readonly ErrorRow[] = [
  // No answer.
  {
    systemCode: ['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'],
    code: 'transient',
    effect: 'none',
    hint: "Nothing listens at the cluster's address: correct the kubeconfig, or start the API server.",
  },
  { systemCode: ['EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'], code: 'transient', effect: 'none' },
  {
    systemCode: [
      ...['ERR_TLS_CERT_ALTNAME_INVALID', 'CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
      ...['SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT'],
      ...['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'CERT_SIGNATURE_FAILURE', 'CERT_UNTRUSTED', 'CERT_REVOKED'],
    ],
    code: 'auth',
    effect: 'none',
    hint: "The API server's certificate is not of the authority that the kubeconfig names.",
  },

  // Who we are, and what we may.
  {
    status: [401],
    code: 'auth',
    effect: 'none',
    hint: 'The token or certificate of the kubeconfig is refused: it has expired, or its user is gone.',
  },
  {
    words: /exceeded quota: /i,
    code: 'quota',
    effect: 'none',
    hint: 'Wait for workers to end, or raise the ResourceQuota of the namespace.',
  },
  {
    words: /failed quota: .* must specify/i,
    code: 'invalid-spec',
    effect: 'none',
    path: 'resources',
    hint: 'The ResourceQuota of the namespace counts what the worker does not say: give it resources.',
  },
  {
    words: /violates PodSecurity/i,
    code: 'unsupported',
    effect: 'none',
    path: 'security',
    hint: 'The namespace enforces a stricter level than settings.security: label it, or ask for less.',
  },
  {
    words: /(?:maximum|minimum) (?:cpu|memory|ephemeral-storage) usage per|limit to request ratio per/i,
    code: 'unsupported',
    effect: 'none',
    path: 'resources',
    hint: 'A LimitRange of the namespace bounds what one container may have.',
  },
  { words: /no PriorityClass with name/i, code: 'invalid-spec', effect: 'none', path: 'settings.priorityClass' },
  { words: /RuntimeClass .* not found/i, code: 'invalid-spec', effect: 'none', path: 'settings.runtimeClass' },
  { words: /error looking up service account/i, code: 'invalid-spec', effect: 'none', path: 'settings.serviceAccount' },
  {
    words: /because it is being terminated/i,
    code: 'unsupported',
    effect: 'none',
    hint: 'The namespace is being deleted.',
  },
  {
    status: [400, 403, 409, 422],
    words: /admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request/i,
    code: 'invalid-spec',
    effect: 'none',
    hint: 'A rule of the cluster refuses this worker.',
  },
  {
    words: /failed calling webhook|failed to call webhook/i,
    code: 'transient',
    effect: 'none',
    hint: 'A webhook of the cluster does not answer, and nothing is admitted without it.',
  },
  {
    status: [403],
    code: 'auth',
    effect: 'none',
    hint: 'The right is missing: `muster providers` shows the Role that grants it.',
  },

  // What was asked for.
  {
    status: [404],
    words: /^namespaces /i,
    code: 'unsupported',
    effect: 'none',
    hint: "Make the namespace, or correct `namespace` in the provider's config.",
  },
  { status: [404], code: 'not-found', effect: 'none' },
  { status: [409], code: 'conflict', effect: 'none' },
  { status: [413], code: 'invalid-spec', effect: 'none', hint: 'The worker’s Pod is larger than the server takes.' },
  { status: [400, 405, 406, 415, 422], code: 'invalid-spec', effect: 'none' },
  // The rest of a list that is too old.
  { status: [410], code: 'conflict', effect: 'none' },

  // A server that has no time.
  { status: [429], code: 'throttled', effect: 'none', scope: 'all', retryAfterMs: BUSY_MS },
  { status: [500, 502, 503, 504], code: 'transient' },
]

/** Fields of a Pod that the API refuses, as those of the spec that they are made from. The first that fits wins. */
const paths: readonly [RegExp, string][] = [
  [/^spec\.containers\[0\]\.image$/, 'image'],
  [/^spec\.containers\[0\]\.resources/, 'resources'],
  [/^spec\.containers\[0\]\.env/, 'env'],
  [/^spec\.containers\[0\]\.workingDir/, 'workdir'],
  [/^spec\.containers\[0\]\.ports/, 'network.ports'],
  [/^spec\.containers\[0\]\.readinessProbe/, 'readiness'],
  [/^spec\.containers\[0\]\.lifecycle/, 'settings.preStop'],
  [/^spec\.containers\[0\]\.volumeMounts/, 'mounts'],
  [/^spec\.(?:containers\[0\]\.)?securityContext/, 'security'],
  [/^spec\.initContainers/, 'services'],
  [/^spec\.volumes/, 'mounts'],
  [/^spec\.(?:nodeSelector)/, 'settings.nodeSelector'],
  [/^spec\.(affinity|tolerations)/, 'settings.$1'],
  [/^spec\.topologySpreadConstraints/, 'settings.spread'],
  [/^spec\.imagePullSecrets/, 'settings.pullSecrets'],
  [/^spec\.activeDeadlineSeconds/, 'lifetimeMs'],
  [/^(?:spec|metadata)\./, 'settings.template'],
]

/** The surroundings in which a failure is judged. */
export interface Judgement {
  /** What was being done, as `launch the worker`: begins the message. */
  doing: string
  /** The call's end: an abort at or after it is `deadline`, before it `cancelled`. */
  deadline?: number
  now?: number
  /** The call's signal says that its time is up: a timer may be a little before the clock. */
  timedOut?: boolean
  /** False for a request that changes nothing: its effect is always `none`. */
  mutates: boolean
}

/** Judges anything thrown while the cluster was asked. A ProviderError passes as it is. */
export function toKubernetesError(thrown: unknown, judgement: Judgement): ProviderError {
  if (thrown instanceof ProviderError) return thrown
  if (isAbort(thrown)) return abortError(judgement)
  const { doing, mutates } = judgement
  const refusal = isRefusal(thrown) ? thrown : undefined
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  const row = refusal === undefined ? undefined : errorTable.find((candidate) => fits(candidate, refusal))
  const code = row?.code ?? (refusal !== undefined && refusal.status === undefined ? 'transient' : 'internal')
  const path = row?.path ?? pathOf(refusal)
  const retryAfterMs = refusal?.retryAfterMs ?? row?.retryAfterMs
  const quota = code === 'quota' ? /exceeded quota: ([^,]+)/.exec(text)?.[1] : undefined
  return new ProviderError(code, `cannot ${doing}: ${text}`, {
    effect: mutates ? effectOf(row, refusal) : 'none',
    ...(row?.hint === undefined ? {} : { hint: row.hint }),
    ...(path === undefined ? {} : { path }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(row?.scope === undefined ? {} : { scope: row.scope }),
    ...(quota === undefined ? {} : { quota }),
    cause: thrown,
  })
}

/** The error of a call that was given up. */
export function abortError({ doing, deadline, now, timedOut = false, mutates }: Judgement): ProviderError {
  const late = timedOut || (deadline !== undefined && now !== undefined && now >= deadline)
  const message = late ? `the deadline passed before the cluster could ${doing}` : `given up: ${doing}`
  return new ProviderError(late ? 'deadline' : 'cancelled', message, { effect: mutates ? 'possible' : 'none' })
}

function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError')
}

/** Did the server answer with this status? */
export function isStatus(thrown: unknown, status: number): boolean {
  return isRefusal(thrown) && thrown.status === status
}

function isRefusal(thrown: unknown): thrown is Error & Refusal {
  return thrown instanceof Error && 'sent' in thrown
}

function pathOf(refusal: Refusal | undefined): string | undefined {
  const field = refusal?.fields?.[0]
  if (field === undefined) return undefined
  const [pattern, path] = paths.find(([candidate]) => candidate.test(field)) ?? []
  // What the pattern has in brackets is a part of the path.
  return pattern === undefined ? undefined : path?.replace('$1', pattern.exec(field)?.[1] ?? '')
}

function fits(row: ErrorRow, refusal: Refusal): boolean {
  if (row.status !== undefined && (refusal.status === undefined || !row.status.includes(refusal.status))) return false
  if (row.systemCode !== undefined && (refusal.code === undefined || !row.systemCode.includes(refusal.code))) return false
  return row.words === undefined || row.words.test(refusal.message)
}

function effectOf(row: ErrorRow | undefined, refusal: Refusal | undefined): Effect {
  if (row?.effect !== undefined) return row.effect
  if (refusal === undefined) return 'possible'
  if (!refusal.sent) return 'none'
  return refusal.status !== undefined && refusal.status >= 400 && refusal.status < 500 ? 'none' : 'possible'
}
