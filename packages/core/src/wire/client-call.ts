/** One call from the host: the wait for a free place, its deadline, its abort, and that it settles whatever the plugin does. */
import { ProviderError } from '../errors.ts'
import type { CallOptions } from './call-options.ts'
import { checkAnswer, type ClientCore } from './client-core.ts'
import { WireViolation } from './close.ts'
import { encodeJson } from './json.ts'
import { answerGraceMs, envelopeBytes, maxFrameBytes, maxTimerMs } from './limits.ts'
import { type CallParams, describeIssues, type MethodSpec } from './messages.ts'
import type { Outgoing } from './peer.ts'

export interface HostCall {
  /** The checked result. Rejects with ProviderError. */
  readonly result: Promise<unknown>
  /** Settles when the plugin has accepted a streaming call; rejects when the call fails before. */
  readonly started: Promise<void>
  /** Nobody waits any more. */
  cancel(): void
}

export interface CallRequest {
  /** As `worker.launch`. */
  method: string
  /** As `launch`. */
  name: string
  spec: MethodSpec
  /** Arguments, without `call` and streams. */
  args: Record<string, unknown>
  options: CallOptions
  /** Opens the streams and names them; once, right before the call is sent. */
  open?(): Record<string, number>
  /** The plugin will hear of it: its streams may flow. */
  onSent?(): void
  /** The plugin has answered, in time or later. Throws WireViolation. */
  answered?(): void
  /** It has settled; `unsent`: the plugin never heard of it. */
  settled?(unsent: boolean): void
}

/** The plugin's own timer started later than ours by the way there. */
const deadlineSlackMs = 50

type Cause = 'cancelled' | 'deadline'

export function startCall(core: ClientCore, request: CallRequest): HostCall {
  const { name, spec, options } = request
  const result = Promise.withResolvers<unknown>()
  const started = Promise.withResolvers<void>()
  result.promise.catch(ignore)
  started.promise.catch(ignore)
  /** Made only for a call whose plugin asks for secrets. */
  let over: AbortController | undefined
  let settled = false
  const endsAt = performance.now() + options.deadlineMs
  let outgoing: Outgoing | undefined
  let cause: Cause | undefined
  let accepted = false
  let timer: NodeJS.Timeout | undefined

  function settle(error: unknown, value?: unknown): void {
    if (settled) return
    settled = true
    over?.abort()
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', cancel)
    if (outgoing !== undefined) core.live.delete(outgoing.id)
    if (error === undefined) {
      started.resolve()
      result.resolve(value)
    } else {
      started.reject(error)
      result.reject(error)
    }
    request.settled?.(outgoing?.sent !== true)
    place.leave()
  }

  /** The plugin is told, and gets a moment to say how things stand; without its answer the call settles alone. */
  function stop(why: Cause): void {
    if (settled || cause !== undefined) return
    cause = why
    clearTimeout(timer)
    if (outgoing === undefined || outgoing.withdraw()) return settle(stopped(name, why, 'none'))
    const asked = outgoing
    core.peer.notify('$/cancel', { id: asked.id })
    timer = setTimeout(() => {
      core.expect(`${name} was ${why === 'deadline' ? 'past its deadline' : 'cancelled'}`, () => asked.answered)
      settle(stopped(name, why, 'possible'))
    }, answerGraceMs)
  }

  function cancel(): void {
    stop('cancelled')
  }

  function send(): void {
    options.placed?.()
    const params = { call: callParams(options, endsAt - performance.now()), ...request.args }
    let text: string
    try {
      text = paramsText(request, params)
    } catch (error) {
      return settle(error)
    }
    const { method, onSent } = request
    outgoing = core.peer.request({ lane: spec.lane, method, params: text, ...(onSent === undefined ? {} : { onSent }) })
    core.live.set(outgoing.id, { options, started: accept, over: overSignal })
    outgoing.answer.then(
      (answer) => finish(() => settle(undefined, checkAnswer({ name, spec, params }, answer))),
      (error: ProviderError) => finish(() => settle(cause === undefined ? error : relabel(name, error, cause))),
    )
  }

  function finish(last: () => void): void {
    try {
      if (core.peer.closing === undefined) request.answered?.()
      last()
    } catch (error) {
      settle(error instanceof WireViolation ? core.violated(error) : error)
    }
  }

  function overSignal(): AbortSignal {
    over ??= new AbortController()
    return over.signal
  }

  function accept(): void {
    if (accepted || spec.out === undefined) throw new WireViolation('bad-params', `${name}: $/started where none was due`)
    accepted = true
    started.resolve()
  }

  const free = spec.lane === 'terminate' || request.open !== undefined
  const place = core.gate.enter(free, send)
  if (options.signal?.aborted === true) stop('cancelled')
  else if (options.deadlineMs <= 0) stop('deadline')
  else {
    options.signal?.addEventListener('abort', cancel, { once: true })
    // The plugin keeps the deadline too and answers by itself; this is for one that does not.
    timer = setTimeout(() => stop('deadline'), Math.min(options.deadlineMs + deadlineSlackMs, maxTimerMs))
    place.start()
  }
  return { result: result.promise, started: started.promise, cancel }
}

function stopped(name: string, why: Cause, effect: 'none' | 'possible'): ProviderError {
  return new ProviderError(why, `${name}: ${why === 'deadline' ? 'the deadline has passed' : 'cancelled'}`, { effect })
}

/** Checked, and with its streams; those are opened last, so that a call that is refused here has none. Throws ProviderError. */
function paramsText({ name, spec, open }: CallRequest, params: Record<string, unknown>): string {
  const streams = { ...(spec.out === undefined ? {} : { out: 1 }), ...(spec.in === 'always' ? { in: 1 } : {}) }
  const checked = spec.params.safeParse({ ...params, ...streams })
  if (!checked.success) throw badParams(name, describeIssues(checked.error))
  let text: string
  try {
    text = encodeJson(params)
  } catch (error) {
    throw badParams(name, { path: '', message: error instanceof Error ? error.message : 'not a JSON value' })
  }
  const bytes = Buffer.byteLength(text)
  if (bytes > maxFrameBytes - envelopeBytes) throw badParams(name, { path: '', message: `a call of ${bytes} bytes` })
  return open === undefined ? text : encodeJson({ ...params, ...open() })
}

function callParams(options: CallOptions, leftMs: number): CallParams {
  const { idempotencyKey, epoch, attempt, traceparent, tracestate } = options
  const deadlineMs = Math.max(1, Math.min(Math.floor(leftMs), maxTimerMs))
  return {
    deadlineMs,
    idempotencyKey,
    epoch,
    attempt,
    traceparent,
    ...(tracestate === undefined ? {} : { tracestate }),
    ...(options.spans === undefined ? {} : { spans: true }),
  }
}

function badParams(name: string, fault: { path: string; message: string }): ProviderError {
  const path = fault.path.replace(/^spec\./, '')
  return new ProviderError(
    'invalid-spec',
    `${name}: ${fault.message}`,
    path === '' ? { effect: 'none' } : { effect: 'none', path },
  )
}

/** The plugin's answer to an abort, under the code of what caused it. */
function relabel(name: string, error: ProviderError, cause: Cause): ProviderError {
  const other = cause === 'deadline' ? 'cancelled' : 'deadline'
  return error.code === other ? stopped(name, cause, error.effect) : error
}

function ignore(): void {
  /* the failure is also in the other promise, or nobody waits */
}
