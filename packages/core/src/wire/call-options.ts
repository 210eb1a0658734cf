/** What stands in the place of `Call` on the host's side. */
import type { Call, SecretValue } from '../provider.ts'
import type { SpanBatch } from './trail.ts'

export interface CallOptions {
  /** Cancels: the call settles within a second. */
  signal?: AbortSignal
  /** From now; the wait for a free place counts. */
  deadlineMs: number
  idempotencyKey: string
  epoch: number
  attempt: number
  /** W3C trace context. */
  traceparent: string
  tracestate?: string
  /** Told, at most once, when the call has its place: from then on nothing of this side keeps it waiting. */
  placed?(): void
  /** Told what the plugin did for this call, before it settles; absent: the plugin does not record it. */
  spans?(batch: SpanBatch): void
  /** Answers the plugin's `secret` for this call; without it the plugin gets `unsupported`. The signal ends with the call. */
  secret?(name: string, request: { refused?: string; signal: AbortSignal }): Promise<SecretValue>
}

export interface LifeOptions {
  signal?: AbortSignal
  deadlineMs: number
}

/** Options that carry on a {@link Call}: for code that has one and speaks to a client. */
export function toCallOptions(call: Call): CallOptions {
  return {
    signal: call.signal,
    deadlineMs: call.deadline - call.now(),
    idempotencyKey: call.idempotencyKey,
    epoch: call.epoch,
    attempt: call.attempt,
    ...call.trace,
    secret: (name, { refused }) => call.secret(name, refused === undefined ? {} : { refused }),
  }
}
