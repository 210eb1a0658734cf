/** One open call inside a plugin process: its signal, its deadline, its secrets, and that it settles in time whatever author code does. */
import { ProviderError, toProviderError } from '../errors.ts'
import type { Call, CallLog, SecretValue } from '../provider.ts'
import { maxTimerMs, settleMs } from './limits.ts'
import type { CallParams } from './messages.ts'

export interface CallHooks {
  method: string
  log: CallLog
  now(): number
  secret(request: { name: string; refused?: string }): Promise<SecretValue>
}

/** In the log when author code did not heed its signal and the call was answered without it. */
export const overstayed = 'the call went on after its signal aborted'

export type AbortCause = 'cancelled' | 'deadline'

export interface OpenCall {
  readonly call: Call
  readonly method: string
  /** Once: the signal aborts, and {@link within} settles at the latest {@link settleMs} later. */
  abort(cause: AbortCause): void
  /** The work's own outcome, or an error when it goes on too long after an abort. */
  within<T>(work: Promise<T>): Promise<T>
  /** What the caller is told. */
  failure(error: unknown): ProviderError
  /** It is answered: late results are dropped, secrets are refused. */
  end(): void
  readonly ended: boolean
  readonly aborted: boolean
}

export function openCall(params: CallParams, hooks: CallHooks): OpenCall {
  const controller = new AbortController()
  const expired = Promise.withResolvers<never>()
  expired.promise.catch(ignore)
  let cause: AbortCause | undefined
  let ended = false
  let grace: NodeJS.Timeout | undefined
  const timer = setTimeout(() => abort('deadline'), Math.min(params.deadlineMs, maxTimerMs))

  function abort(why: AbortCause): void {
    if (cause !== undefined || ended) return
    cause = why
    clearTimeout(timer)
    grace = setTimeout(() => {
      hooks.log.warn(overstayed)
      expired.reject(abortError())
    }, settleMs)
    controller.abort(
      why === 'deadline'
        ? new DOMException('the deadline of the call has passed', 'TimeoutError')
        : new DOMException('the call was cancelled', 'AbortError'),
    )
  }

  function abortError(): ProviderError {
    return new ProviderError(
      cause ?? 'cancelled',
      `${hooks.method}: ${cause === 'deadline' ? 'the deadline has passed' : 'cancelled'}`,
    )
  }

  const { traceparent, tracestate } = params
  const call: Call = {
    signal: controller.signal,
    deadline: hooks.now() + params.deadlineMs,
    idempotencyKey: params.idempotencyKey,
    epoch: params.epoch,
    attempt: params.attempt,
    log: hooks.log,
    trace: tracestate === undefined ? { traceparent } : { traceparent, tracestate },
    now: () => hooks.now(),
    async secret(name, options) {
      if (ended)
        throw new ProviderError('internal', `${hooks.method}: secret(${name}) after the call was over`, { effect: 'none' })
      return await Promise.race([hooks.secret({ name, ...options }), whenAborted(controller.signal)])
    },
  }

  return {
    call,
    method: hooks.method,
    abort,
    within: (work) => Promise.race([work, expired.promise]),
    failure(error) {
      if (cause === undefined) return toProviderError(error, `${hooks.method} failed`)
      if (!(error instanceof ProviderError)) return abortError()
      // The author saw the abort and knows the effect; the code is ours.
      if (error.code !== 'cancelled' && error.code !== 'deadline') return error
      return new ProviderError(cause, error.message, { effect: error.effect, cause: error })
    },
    end() {
      ended = true
      clearTimeout(timer)
      clearTimeout(grace)
    },
    get ended() {
      return ended
    },
    get aborted() {
      return cause !== undefined
    },
  }
}

/** Rejects with the signal's reason once it aborts. */
function whenAborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(ignore)
  if (signal.aborted) reject(signal.reason)
  else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  return promise
}

function ignore(): void {
  /* the outcome is read elsewhere, or nobody wants it any more */
}
