/** The way of one call to a provider's process: whether it may go, for how long, under which names, and what its failure is. */
import { randomUUID } from 'node:crypto'
import {
  ProviderError,
  type ProviderErrorCode,
  reactions,
  toProviderError,
  type CallOptions as WireOptions,
  type OwnerTags,
  type WorkerClient,
} from '@muster/core'
import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhen,
  type CircuitBreakerPolicy,
} from 'cockatiel'
import { newTraceparent } from '../observe/trace.ts'
import type { CallOptions, CallWitness, Fence, GuardedProvider } from './api.ts'
import type { Holds } from './holds.ts'
import { openWaits } from './waits.ts'
import { cleanSpans, type Redactor } from './redactor.ts'
import type { SecretReader } from './secrets.ts'

/** The running process, or why there is none. */
export type Current = { worker: WorkerClient; holds: Holds; inFlight: number } | { down: string; retryAfterMs: number }

export interface DoorDeps {
  tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>
  fence: Fence
  current(): Current
  secret: SecretReader
  redactor: Redactor
  /** Absent: nobody looks. */
  witness?: CallWitness
  /** A call failed; the supervisor decides what it says about the provider. */
  onFailure(method: string, error: ProviderError): void
}

/** One call of a provider; `execResize` belongs to a session of `exec`. */
type Method = keyof ProviderCalls | 'execResize'

export type ProviderCalls = Omit<GuardedProvider, 'name' | 'manifest' | 'capabilities' | 'status'>

const second = 1000
const minute = 60 * second
/** Longest time of one call, by method. Long streams end at theirs, and the host resumes them by cursor or offset. */
const deadlines: Readonly<Record<Method, number>> = {
  probe: 10 * second,
  launch: 2 * minute,
  terminate: minute,
  list: minute,
  inspect: 30 * second,
  watch: 10 * minute,
  logs: 30 * minute,
  exec: 30 * minute,
  execState: 30 * second,
  execKill: 30 * second,
  execResize: 30 * second,
  copyIn: 30 * minute,
  copyOut: 30 * minute,
  forward: 60 * minute,
  suspend: minute,
  resume: minute,
  mark: 30 * second,
  stats: 10 * minute,
  headroom: 30 * second,
  quote: 30 * second,
  preparePool: 5 * minute,
  unpreparePool: 5 * minute,
}

/** Calls that change something at the vendor: only while the term lasts. */
const mutating: ReadonlySet<Method> = new Set<Method>([
  'launch',
  'terminate',
  'exec',
  'execKill',
  'copyIn',
  'suspend',
  'resume',
  'mark',
  'preparePool',
  'unpreparePool',
])

/** Streams that whoever reads them asks for again, from where they were cut off. */
const resumed: ReadonlySet<Method> = new Set<Method>(['watch', 'stats', 'logs'])

/** Calls that need no place at the plugin: those with streams, and what ends a worker. */
const placeless: ReadonlySet<Method> = new Set<Method>(['terminate', 'exec', 'copyIn'])

/** Plugin faults in a row before calls are refused for a while: one may be bad luck, five are not. */
const faultsToOpen = 5

export function newBreaker(): CircuitBreakerPolicy {
  return circuitBreaker(
    handleWhen((error) => reactions[toProviderError(error).code].pluginFault),
    {
      halfOpenAfter: new ExponentialBackoff({ initialDelay: 5 * second, maxDelay: 5 * minute }),
      breaker: new ConsecutiveBreaker(faultsToOpen),
    },
  )
}

export interface Door {
  once<T>(
    method: Method,
    call: (worker: WorkerClient, options: WireOptions, holds: Holds) => Promise<T>,
    options?: CallOptions,
  ): Promise<T>
  stream<T>(
    method: Method,
    call: (worker: WorkerClient, options: WireOptions) => AsyncIterable<T>,
    options?: CallOptions,
  ): AsyncIterable<T>
}

export function createDoor(deps: DoorDeps, breaker: () => CircuitBreakerPolicy): Door {
  const waits = openWaits()

  /** The worker side to call, and what keeps its process until the call has ended; or the refusal. */
  function enter(method: Method): { worker: WorkerClient; holds: Holds; leave: () => void; inFlight: number } {
    if (mutating.has(method) && !deps.fence.mayAct())
      throw new ProviderError('cancelled', `${method}: this host's term is too short to act`, { effect: 'none' })
    const current = deps.current()
    if ('down' in current)
      throw new ProviderError('transient', `${method}: the provider's process is down: ${current.down}`, {
        effect: 'none',
        retryAfterMs: current.retryAfterMs,
      })
    const leave = resumed.has(method) ? () => undefined : current.holds.hold()
    return { ...current, leave }
  }

  function fail(method: Method, thrown: unknown): ProviderError {
    if (thrown instanceof BrokenCircuitError)
      return new ProviderError('transient', `${method}: the breaker is open after ${faultsToOpen} plugin faults in a row`, {
        effect: 'none',
        retryAfterMs: 5 * second,
      })
    const error = redact(toProviderError(thrown, method), deps.redactor)
    deps.onFailure(method, error)
    return error
  }

  return {
    async once(method, call, options = {}) {
      const seen = witness({ method, options, stream: false })
      let leave = (): void => undefined
      try {
        const entered = enter(method)
        const { worker, holds, inFlight } = entered
        const wait = waits.enter({
          limit: placeless.has(method) ? Infinity : inFlight,
          trying: breakerState(breaker()) !== 'closed',
        })
        leave = () => {
          wait.leave()
          entered.leave()
        }
        const placed = (): void => wait.placed((reason) => seen.waited?.(reason))
        const wire = { ...wireOptions(method, { ...options, ...seen }, deps), placed }
        const answer = await breaker().execute(() => call(worker, wire, holds))
        seen.end('ok')
        return answer
      } catch (thrown) {
        const error = fail(method, thrown)
        seen.end(error.code)
        throw error
      } finally {
        leave()
      }
    },
    async *stream(method, call, options = {}) {
      const seen = witness({ method, options, stream: true })
      // A reader that leaves ends the call well.
      let code: ProviderErrorCode | 'ok' = 'ok'
      let leave = (): void => undefined
      try {
        const entered = enter(method)
        // Whoever stops reading holds nothing up beyond the call's own end.
        const late = setTimeout(entered.leave, options.timeoutMs ?? deadlines[method])
        leave = () => {
          clearTimeout(late)
          entered.leave()
        }
        yield* call(entered.worker, wireOptions(method, { ...options, ...seen }, deps))
      } catch (thrown) {
        const error = fail(method, thrown)
        code = error.code
        throw error
      } finally {
        leave()
        seen.end(code)
      }
    },
  }

  function witness(call: { method: Method; options: CallOptions; stream: boolean }): ReturnType<CallWitness> {
    const { method, options, stream } = call
    const { traceparent, attempt = 1 } = options
    const given = { provider: deps.tags['muster-provider'], method, attempt, stream }
    return (deps.witness ?? unseen)({ ...given, ...(traceparent === undefined ? {} : { traceparent }) })
  }
}

/** Of whoever does not look. */
export const unseen: CallWitness = ({ traceparent = newTraceparent() }) => ({ traceparent, end: () => undefined })

function wireOptions(
  method: Method,
  options: CallOptions & Pick<ReturnType<CallWitness>, 'traceparent' | 'spans'>,
  deps: DoorDeps,
): WireOptions {
  const { spans } = options
  return {
    deadlineMs: options.timeoutMs ?? deadlines[method],
    idempotencyKey: options.idempotencyKey ?? randomUUID(),
    epoch: deps.fence.epoch(),
    attempt: options.attempt ?? 1,
    traceparent: options.traceparent,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(spans === undefined ? {} : { spans: (batch) => spans(cleanSpans(batch, deps.redactor)) }),
    async secret(name) {
      const secret = await deps.secret(name)
      deps.redactor.learn(secret.value)
      return secret
    },
  }
}

function redact(error: ProviderError, redactor: Redactor): ProviderError {
  const message = redactor.clean(error.message)
  const hint = error.hint === undefined ? undefined : redactor.clean(error.hint)
  if (message === error.message && hint === error.hint) return error
  const { code, effect, retryAfterMs, scope, path, quota } = error
  const same = { retryAfterMs, scope, path, quota, hint }
  const given = Object.fromEntries(Object.entries(same).filter(([, value]) => value !== undefined))
  return new ProviderError(code, message, { effect, ...given })
}

export function breakerState({ state }: CircuitBreakerPolicy): 'closed' | 'open' | 'half-open' {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}
