/** What went wrong with one request to an API server, as facts: {@link ApiFailure}. What it means is judged in `verdict.ts`. */

/** One field that a server complained of. */
export interface FailureCause {
  readonly reason?: string
  readonly field?: string
  readonly message?: string
}

export interface FailureFacts {
  status?: number
  reason?: string
  code?: string
  sent: boolean
  retryAfterMs?: number
  causes?: readonly FailureCause[]
  kind?: string
  cause?: unknown
}

/** A failure of one request, before it is judged. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure'
  /** The HTTP status; absent when there was no answer. */
  readonly status: number | undefined
  /** The `reason` of the server's Status, as `AlreadyExists`. */
  readonly reason: string | undefined
  /** The system's error code, as `ECONNREFUSED`, or one of ours, as `BAD_ANSWER`. */
  readonly code: string | undefined
  /** Could the server have read the request? */
  readonly sent: boolean
  /** How long the server wants to be left alone. */
  readonly retryAfterMs: number | undefined
  readonly causes: readonly FailureCause[]
  /** The resource that the Status speaks of, as `namespaces`. */
  readonly kind: string | undefined

  constructor(message: string, facts: FailureFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.status = facts.status
    this.reason = facts.reason
    this.code = facts.code
    this.sent = facts.sent
    this.retryAfterMs = facts.retryAfterMs
    this.causes = facts.causes ?? []
    this.kind = facts.kind
  }
}

/** The server's own account of a failure: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
interface Status {
  kind?: unknown
  message?: unknown
  reason?: unknown
  code?: unknown
  details?: { kind?: unknown; causes?: unknown; retryAfterSeconds?: unknown } | null
}

/** A refusal, from its status and body; whatever answers that is no API server (a proxy, a load balancer) is told by the begin of its words. */
export function refusal(answer: { status: number; retryAfter?: string | undefined; body: string }): ApiFailure {
  const said = statusOf(answer.body)
  const retryAfterMs = headerMs(answer.retryAfter) ?? said?.retryAfterMs
  const words = said?.message ?? (answer.body.trim().slice(0, 300) || 'no words')
  return new ApiFailure(`${answer.status}: ${words}`, {
    ...said,
    status: answer.status,
    sent: true,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
}

/** The same, from a Status that came inside a stream, as the event ERROR of a watch. */
export function refusalInside(object: unknown): ApiFailure {
  const said = readStatus(object)
  return new ApiFailure(said.message ?? 'an error without words', { ...said, status: said.status ?? 500, sent: true })
}

/** Whatever was thrown, as a failure of which it is not known that nothing was sent. An abort is none: it passes as it is. */
export function toFailure(thrown: unknown): Error {
  if (thrown instanceof ApiFailure || isAbort(thrown)) return thrown as Error
  const error = thrown instanceof Error ? thrown : new Error(String(thrown))
  const { code } = error as NodeJS.ErrnoException
  return new ApiFailure(error.message, { ...(typeof code === 'string' ? { code } : {}), sent: true, cause: error })
}

export function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError')
}

/** Did the server answer with this status (and this reason)? */
export function isStatus(thrown: unknown, status: number, reason?: string): boolean {
  return thrown instanceof ApiFailure && thrown.status === status && (reason === undefined || thrown.reason === reason)
}

/** Is the version or the page that was asked for forgotten? */
export function isExpired(thrown: unknown): boolean {
  return isStatus(thrown, 410) || (thrown instanceof ApiFailure && thrown.reason === 'Expired')
}

/** Was the answer larger than what is taken at once? */
export function isTooLarge(thrown: unknown): boolean {
  return thrown instanceof ApiFailure && thrown.code === 'TOO_LARGE'
}

type Said = Omit<FailureFacts, 'sent' | 'code'> & { message?: string }

function statusOf(body: string): Said | undefined {
  try {
    const parsed: unknown = JSON.parse(body)
    return (parsed as Status | null)?.kind === 'Status' ? readStatus(parsed) : undefined
  } catch {
    return undefined
  }
}

function readStatus(object: unknown): Said {
  const { message, reason, code, details } = (object ?? {}) as Status
  const seconds = details?.retryAfterSeconds
  return {
    ...(typeof message === 'string' ? { message } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(typeof code === 'number' ? { status: code } : {}),
    ...(typeof details?.kind === 'string' ? { kind: details.kind } : {}),
    ...(Array.isArray(details?.causes) ? { causes: details.causes as FailureCause[] } : {}),
    ...(typeof seconds === 'number' && seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}),
  }
}

/** Seconds only: API servers send nothing else, and a date would be by another clock. */
function headerMs(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) * 1000 : undefined
}
