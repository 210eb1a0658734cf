/** The one clever thing between engine and provider: term, deadline, breaker, ownership of answers, redaction, one kind of error. */
import { randomUUID } from 'node:crypto'
import {
  ProviderError,
  type ProviderErrorCode,
  reactions,
  toProviderError,
  type CallOptions as WireOptions,
  type OwnerTags,
  type WorkerClient,
  type WorkerObservation,
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
import { cleanSpans, givenIn, type Redactor } from './redactor.ts'
import type { SecretReader } from './secrets.ts'
import { sessionAt } from './session-at.ts'

/** The running process, or why there is none. */
export type Current = { worker: WorkerClient; holds: Holds; inFlight: number } | { down: string; retryAfterMs: number }

export interface GuardDeps {
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

export interface Guard {
  calls: Omit<GuardedProvider, 'name' | 'manifest' | 'capabilities' | 'status'>
  breaker(): 'closed' | 'open' | 'half-open'
  /** Another process is asked from now on: what the one before it did says nothing of it. */
  renew(): void
}

type Method = keyof Guard['calls'] | 'execResize'

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

export function createGuard(deps: GuardDeps): Guard {
  let breaker = newBreaker()
  const door = createDoor(deps, () => breaker)
  const { tags, redactor } = deps
  return {
    breaker: () => breakerState(breaker),
    renew: () => {
      breaker = newBreaker()
    },
    calls: {
      probe: (options) => door.once('probe', (w, o) => w.probe(o), options),
      launch: (spec, options) => {
        redactor.learnGiven(givenIn(spec))
        return door.once('launch', (w, o) => w.launch(spec, o), options)
      },
      terminate: (target, how, options) => door.once('terminate', (w, o) => w.terminate(target, how, o), options),
      list: (query, options) =>
        door.once(
          'list',
          async (w, o) => {
            const page = await w.list({ ...query, tags }, o)
            for (const one of page.workers) checkOwner(one, tags)
            return page
          },
          options,
        ),
      inspect: (targets, options) =>
        door.once(
          'inspect',
          async (w, o) => {
            const found = await w.inspect(targets, o)
            const asked = new Set(targets.map((target) => target.id))
            for (const one of found) {
              checkOwner(one, tags)
              if (!asked.has(one.id))
                throw new ProviderError('internal', `inspect: it answered for ${one.id}, which was not asked`, { effect: 'none' })
            }
            return found
          },
          options,
        ),
      watch: (options) => door.stream('watch', (w, o) => w.watch({ tags, limit: 500 }, o), options),
      logs: (target, query, options) => door.stream('logs', (w, o) => w.logs(target, query, o), options),
      exec: (target, command, options) => {
        redactor.learnGiven(Object.values(command.env ?? {}))
        return sessionAt(door, { target, command }, options)
      },
      execState: (target, id, options) => door.once('execState', (w, o) => w.execState(target, id, o), options),
      execKill: (target, kill, options) => door.once('execKill', (w, o) => w.execKill(target, kill, o), options),
      copyIn: (target, input, options) => door.once('copyIn', (w, o) => w.copyIn(target, input, o), options),
      copyOut: (target, path, options) => door.stream('copyOut', (w, o) => w.copyOut(target, path, o), options),
      forward: (target, input, options) => door.stream('forward', (w, o) => w.forward(target, input, o), options),
      suspend: (target, how, options) => door.once('suspend', (w, o) => w.suspend(target, how, o), options),
      resume: (target, options) => door.once('resume', (w, o) => w.resume(target, o), options),
      mark: (target, mark, options) => door.once('mark', (w, o) => w.mark(target, mark, o), options),
      stats: (query, options) => door.stream('stats', (w, o) => w.stats({ ...query, tags }, o), options),
      headroom: (options) => door.once('headroom', (w, o) => w.headroom(o), options),
      quote: (shape, options) => door.once('quote', (w, o) => w.quote(shape, o), options),
      preparePool: (pool, options) =>
        door.once('preparePool', (w, o) => w.preparePool({ ...pool, tags: { ...tags, 'muster-pool': pool.pool } }, o), options),
      unpreparePool: ({ pool, handle }, options) =>
        door.once(
          'unpreparePool',
          (w, o) => w.unpreparePool({ pool: { ...pool, tags: { ...tags, 'muster-pool': pool.pool } }, handle }, o),
          options,
        ),
    },
  }
}

function newBreaker(): CircuitBreakerPolicy {
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

function createDoor(deps: GuardDeps, breaker: () => CircuitBreakerPolicy): Door {
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
  deps: GuardDeps,
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

function checkOwner(one: WorkerObservation, tags: GuardDeps['tags']): void {
  for (const tag of ['muster-owner', 'muster-provider'] as const)
    if (one.tags[tag] !== tags[tag])
      throw new ProviderError('internal', `it answered with a worker of another ${tag.slice('muster-'.length)}: ${one.id}`, {
        effect: 'none',
      })
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

function breakerState({ state }: CircuitBreakerPolicy): 'closed' | 'open' | 'half-open' {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}
