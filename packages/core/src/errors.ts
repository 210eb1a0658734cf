/** The one failure of the contract: {@link ProviderError}, its closed codes, and what the host does about each. */

export const providerErrorCodes = [
  'capacity',
  'quota',
  'throttled',
  'auth',
  'invalid-spec',
  'unsupported',
  'not-found',
  'conflict',
  'transient',
  'deadline',
  'cancelled',
  'internal',
] as const

export type ProviderErrorCode = (typeof providerErrorCodes)[number]

/** Whether the call may have changed something at the vendor before it failed. */
export type Effect = 'none' | 'possible'

/** Which of a provider's calls a `throttled` answer holds back. */
export type ThrottleScope = 'launch' | 'terminate' | 'read' | 'all'

export interface ProviderErrorOptions {
  /** Default `possible`: say `none` only when the vendor is known to have done nothing. */
  effect?: Effect
  /** What the reader can do about it, one sentence. */
  hint?: string
  /**
   * Milliseconds until another try makes sense: made whole, a day at most; what is no such number is left out. With `unsupported` it says
   * that only the state of the vendor is in the way, as an image that is not there now: whoever asked waits.
   */
  retryAfterMs?: number
  scope?: ThrottleScope
  /** The path of the offending field, as in `resources.memoryBytes`; for `invalid-spec` and `unsupported`. */
  path?: string
  /** The quota's own name at the vendor; for `quota`. */
  quota?: string
  cause?: unknown
}

/** A failure with a closed code. Everything a provider throws becomes one of these at the door. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly code: ProviderErrorCode
  readonly effect: Effect
  readonly hint: string | undefined
  readonly retryAfterMs: number | undefined
  readonly scope: ThrottleScope | undefined
  readonly path: string | undefined
  readonly quota: string | undefined

  constructor(code: ProviderErrorCode, message: string, options: ProviderErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.effect = options.effect ?? 'possible'
    this.hint = options.hint
    this.retryAfterMs = wholeMs(options.retryAfterMs)
    this.scope = options.scope
    this.path = options.path
    this.quota = options.quota
  }
}

const DAY_MS = 86_400_000

/** Vendors compute such times, and a host stores them: fractions and for ever are no use to it. */
function wholeMs(given: number | undefined): number | undefined {
  if (given === undefined || Number.isNaN(given)) return undefined
  return Math.min(DAY_MS, Math.max(0, Math.ceil(given)))
}

export function isProviderError(value: unknown): value is ProviderError {
  return value instanceof ProviderError
}

/**
 * The door for unknown thrown values: a ProviderError passes, an abort becomes `cancelled`, a time-out `deadline`, a server whose
 * certificate is not trusted `auth`, anything else `internal` with effect `possible`.
 */
export function toProviderError(value: unknown, message = 'the provider failed'): ProviderError {
  if (isProviderError(value)) return value
  if (value instanceof Error) {
    if (value.name === 'AbortError') return new ProviderError('cancelled', value.message, { cause: value })
    if (value.name === 'TimeoutError') return new ProviderError('deadline', value.message, { cause: value })
    const distrust = distrustOf(value)
    if (distrust !== undefined)
      return new ProviderError('auth', `${message}: the certificate of the server is not trusted (${distrust})`, {
        hint: 'name the file of the authority that signed it in host.network.ca, or mend the certificate',
        cause: value,
      })
    return new ProviderError('internal', `${message}: ${value.message}`, { cause: value })
  }
  return new ProviderError('internal', `${message}: ${String(value)}`)
}

/** Of OpenSSL and Node, where it is the certificate and not the connection: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const distrusted = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_NOT_YET_VALID',
  'CERT_HAS_EXPIRED',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

/** The code of an error, or of what caused it: `fetch` and SDKs wrap it. */
function distrustOf(error: Error): string | undefined {
  let one: unknown = error
  for (let depth = 0; one instanceof Error && depth < 5; depth++, one = one.cause) {
    const { code } = one as { code?: unknown }
    if (typeof code === 'string' && distrusted.has(code)) return code
  }
  return undefined
}

/** What the host does when a call fails with a code; read by the engine, printed into the reference. */
export interface Reaction {
  /** May the same worker id be tried again at the same provider? */
  retrySame: boolean
  /** May another placement be tried (as a new worker id)? */
  nextPlacement: boolean
  /** Does it count against the plugin's own breaker? */
  pluginFault: boolean
  /** Does it make the provider `degraded` at once? */
  degrades: boolean
  /** One sentence for the reader. */
  text: string
}

function reaction(text: string, flags: Partial<Omit<Reaction, 'text'>> = {}): Reaction {
  return { retrySame: false, nextPlacement: false, pluginFault: false, degrades: false, ...flags, text }
}

export const reactions: Readonly<Record<ProviderErrorCode, Reaction>> = {
  capacity: reaction('The next placement is tried at once; the shape is remembered as exhausted there, with decay.', {
    nextPlacement: true,
  }),
  quota: reaction('As capacity, and the pool gets a condition that names the quota.', { nextPlacement: true }),
  throttled: reaction("The provider's calls of that scope are held until the time it named.", { retrySame: true }),
  auth: reaction('The secret is asked anew; then the breaker opens and the provider is degraded.', {
    degrades: true,
    nextPlacement: true,
  }),
  'invalid-spec': reaction("Never retried; the request fails with the field's path."),
  unsupported: reaction('Not repeated; the next placement is tried, and this one is asked for no such worker for a while.', {
    nextPlacement: true,
  }),
  'not-found': reaction('The worker is inspected, then the absence rule decides.'),
  conflict: reaction('The workers are listed again, then it is decided.', { retrySame: true }),
  transient: reaction('The same id is retried with full jitter inside the deadline, then the next placement.', {
    retrySame: true,
    nextPlacement: true,
  }),
  deadline: reaction('As transient: the effect is possible, so the old id is confirmed gone first.', {
    retrySame: true,
    nextPlacement: true,
  }),
  cancelled: reaction('The worker is terminated if an effect is possible.'),
  internal: reaction("A plugin fault: counted by the provider's breaker, a crash bundle is kept.", {
    pluginFault: true,
    retrySame: true,
    nextPlacement: true,
  }),
}
