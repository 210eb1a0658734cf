/** What all calls of one connection share on the host's side: the peer, the places, the plugin's requests for secrets. */
import type { Duplex } from 'node:stream'
import { ProviderError, toProviderError } from '../errors.ts'
import type { CallOptions, LifeOptions } from './call-options.ts'
import { WireViolation } from './close.ts'
import { toWireError } from './error-data.ts'
import { createGate, type Gate } from './gate.ts'
import { encodeJson } from './json.ts'
import { envelopeBytes, maxFrameBytes, maxLate, maxTimerMs, maxUnaskedPerSecond, unresponsiveMs } from './limits.ts'
import { describeIssues, lifeMethods, type LifeWire, type MethodSpec, secretMethod } from './messages.ts'
import { waitPatiently } from './patience.ts'
import { createPeer, type Peer, type PeerAnswer, type PeerStats } from './peer.ts'

export interface ConnectOptions {
  /** Most open calls that are not streams; further ones wait here, `terminate` never does. Default: no limit. */
  inFlight?: number
  /** Names the plugin may ask for; default: any. */
  secrets?: readonly string[]
}

/** A call that waits for its answer. */
export interface LiveCall {
  options: CallOptions
  /** `$/started` came. Throws WireViolation. */
  started(): void
  /** Aborts when the call has settled. */
  over(): AbortSignal
}

export interface ClientCore {
  readonly peer: Peer
  readonly gate: Gate
  /** By request id. */
  readonly live: Map<number, LiveCall>
  life<M extends keyof LifeWire>(method: M, params: LifeWire[M]['params'], options: LifeOptions): Promise<LifeWire[M]['result']>
  /** Ends the connection: the plugin broke the contract. */
  violated(violation: WireViolation): ProviderError
  /** The plugin must do its part within {@link unresponsiveMs} of time that both ran, else it is hung: what it leaves open here would only grow. */
  expect(what: string, done: () => boolean): void
  stats(): PeerStats & { waiting: number }
}

export function createClientCore(socket: Duplex, options: ConnectOptions): ClientCore {
  const live = new Map<number, LiveCall>()
  const gate = createGate(options.inFlight)
  /** Calls whose spans have come: they come once, before the answer. */
  const told = new WeakSet<LiveCall>()
  const peer: Peer = createPeer(
    socket,
    {
      request({ id, method, params }) {
        if (method !== 'secret') throw new WireViolation('unknown-method', `the plugin asked for ${method}`)
        const checked = secretMethod.params.safeParse(params)
        if (!checked.success) throw new WireViolation('bad-params', `secret: ${describeIssues(checked.error).message}`)
        void serveSecret(id, checked.data)
      },
      cancelled: () => undefined,
      started: (id) => live.get(id)?.started(),
      // Of a call that nobody waits for any more nobody wants to know.
      spans: ({ call, ...batch }) => {
        const one = live.get(call)
        if (one === undefined) return
        if (told.has(one)) throw new WireViolation('flood', 'the spans of a call came twice')
        told.add(one)
        one.options.spans?.(batch)
      },
    },
    { unaskedPerSecond: maxUnaskedPerSecond, late: maxLate },
  )

  async function serveSecret(
    id: number,
    { call, name, refused }: { call: number; name: string; refused?: string },
  ): Promise<void> {
    const one = live.get(call)
    try {
      if (one === undefined) throw new ProviderError('cancelled', 'secret: the call is over', { effect: 'none' })
      if (options.secrets?.includes(name) === false)
        throw new ProviderError('internal', `secret: ${name} is not in the manifest`, { effect: 'none' })
      if (one.options.secret === undefined)
        throw new ProviderError('unsupported', 'secret: this call has none', { effect: 'none' })
      const signal = one.over()
      const { value, version } = await one.options.secret(name, refused === undefined ? { signal } : { refused, signal })
      peer.answer(id, encodeJson({ value, version }))
    } catch (error) {
      peer.refuse(id, toWireError(toProviderError(error, 'secret')))
    }
  }

  function violated(violation: WireViolation): ProviderError {
    peer.close({ kind: 'violation', violation: violation.code, message: violation.message })
    return new ProviderError('internal', violation.message)
  }

  return {
    peer,
    gate,
    live,
    violated,
    async life(method, params, { signal, deadlineMs }) {
      const spec = lifeMethods[method]
      const asked = peer.request({ lane: spec.lane, method, params: lifeText(method, params) })
      try {
        const answer = await within(asked.answer, deadlineMs, signal)
        return checkAnswer({ name: method, spec, params }, answer) as LifeWire[typeof method]['result']
      } catch (error) {
        asked.withdraw()
        throw error instanceof WireViolation ? violated(error) : error
      }
    },
    expect(what, done) {
      if (done() || peer.closing !== undefined) return
      waitPatiently(unresponsiveMs, {
        done,
        late: () => peer.close({ kind: 'unresponsive', message: `${what}: nothing for ${unresponsiveMs} ms` }),
      })
    },
    stats: () => ({ ...peer.stats(), waiting: gate.waiting }),
  }
}

function lifeText(method: string, params: unknown): string {
  let fault: string
  try {
    const text = encodeJson(params)
    const bytes = Buffer.byteLength(text)
    if (bytes <= maxFrameBytes - envelopeBytes) return text
    fault = `${bytes} bytes; at most ${maxFrameBytes - envelopeBytes}`
  } catch (error) {
    fault = error instanceof Error ? error.message : 'not a JSON value'
  }
  throw new ProviderError('invalid-spec', `${method}: ${fault}`, { effect: 'none' })
}

/** The result, checked once more on this side. Throws WireViolation. */
export function checkAnswer(
  { name, spec, params }: { name: string; spec: MethodSpec; params: unknown },
  answer: PeerAnswer,
): unknown {
  if (spec.maxBytes !== undefined && answer.bytes > spec.maxBytes + envelopeBytes)
    throw new WireViolation('bad-answer', `${name}: an answer of ${answer.bytes} bytes; at most ${spec.maxBytes}`)
  const checked = spec.result.safeParse(answer.result)
  if (!checked.success) throw new WireViolation('bad-answer', `${name}: ${describeIssues(checked.error).message}`)
  const wrong = spec.check?.(params, checked.data)
  if (wrong !== undefined) throw new WireViolation('bad-answer', `${name}: ${wrong}`)
  return spec.nothing === true ? undefined : checked.data
}

async function within<T>(promise: Promise<T>, ms: number, signal: AbortSignal | undefined): Promise<T> {
  const { promise: failed, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new ProviderError('deadline', 'the plugin did not answer in time')),
    Math.min(ms, maxTimerMs),
  )
  const abort = (): void => reject(new ProviderError('cancelled', 'cancelled'))
  signal?.addEventListener('abort', abort, { once: true })
  if (signal?.aborted === true) abort()
  try {
    return await Promise.race([promise, failed])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
