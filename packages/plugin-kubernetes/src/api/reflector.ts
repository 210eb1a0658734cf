/** A part of a cluster, kept up to date: paged list, then watches that continue each other, and again after a loss. */
import { ApiFailure, isExpired } from './failure.ts'
import type { ApiObject, Requests } from './requests.ts'
import { type Change, createStore, type Store, uidOf } from './store.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { createBackOff } from './back-off.ts'
import { watchOnce, type WatchWhat } from './watch.ts'
import type { ApiCall } from './calls.ts'

export interface ReflectorWhat extends WatchWhat {
  list: ApiCall
}

export interface ReflectorState {
  /** Whether what is in the store was seen to the end at least once. */
  synced: boolean
  /** Milliseconds of the monotonic clock at which everything in the store was known to be so; undefined before the first list. */
  freshAt: number | undefined
  /** Why it is not followed at the moment. */
  failure: Error | undefined
}

export interface Reflector<T> {
  readonly store: Pick<Store<T>, 'get' | 'values' | 'size'>
  state(): ReflectorState
  /** Settles after the first complete list. */
  synced(signal: AbortSignal): Promise<void>
  /**
   * Everything that is there, then every change. Several changes of one object that nobody took yet become the last one: a slow taker
   * holds one entry for each object.
   */
  changes(signal: AbortSignal): AsyncGenerator<Change<T>>
  /** Ends the watch; whoever waits is rejected. Settles when nothing of it runs any more. */
  stop(): Promise<void>
}

export interface ReflectorOptions<T> {
  /** What of each object is kept. A uid, a version and a name are needed. */
  pick?: (object: T) => T
  /** Failures that end it once it has had {@link REFUSALS} of them in a row, and for {@link REFUSED_MS}: whoever waits for changes is rejected with the last. */
  isRefusal?: (error: Error) => boolean
  /** Of [0, 1). */
  random?: () => number
  /** Milliseconds of a clock that never goes back. */
  clock?: (() => number) | undefined
  silenceMs?: number
  watchSeconds?: number
  backOff?: { firstMs: number; mostMs: number } | undefined
  onFailure?: (error: Error) => void
}

/** Servers send a bookmark about each minute: one and a half without anything, and the connection is taken as dead. */
const SILENCE_MS = 100_000
/** client-go's: 5 to 10 minutes, so that watches of many clients do not end together. */
const WATCH_SECONDS = 300
/** A watch that ends sooner was no success, whatever its status: to open it again at once would be a storm. */
const SHORT_MS = 1_000
/** Rights and tokens may be missing for a moment while somebody renews them, and a server that has just begun does not know them yet. */
const REFUSALS = 3
const REFUSED_MS = 20_000

export function createReflector<T extends ApiObject>(
  requests: Requests,
  what: ReflectorWhat,
  options: ReflectorOptions<T> = {},
): Reflector<T> {
  const { pick = (object: T) => object } = options
  const { random = Math.random, clock = () => performance.now(), silenceMs = SILENCE_MS, watchSeconds = WATCH_SECONDS } = options
  const store = createStore<T>()
  const takers = new Set<Taker<T>>()
  const stopping = new AbortController()
  const { signal } = stopping
  const first = Promise.withResolvers<void>()
  first.promise.catch(() => {})
  const state: ReflectorState = { synced: false, freshAt: undefined, failure: undefined }
  const backOff = createBackOff({ random, ...options.backOff })
  /** The list is asked for again only when the version is lost: it is what costs a server most. */
  let listed = false
  /** Those in a row up to now. */
  let refusals: { times: number; since: number } | undefined
  const running = run()

  return {
    store,
    state: () => ({ ...state }),
    synced: (caller) => raceAbort(first.promise, AbortSignal.any([caller, signal])),
    async *changes(caller) {
      const taker = createTaker(store.values())
      takers.add(taker)
      try {
        const either = AbortSignal.any([caller, signal])
        for (;;) yield await taker.next(either)
      } finally {
        takers.delete(taker)
      }
    },
    async stop() {
      stopping.abort(new ApiFailure('the reflector was stopped', { code: 'STOPPED', sent: false }))
      await running
      first.reject(signal.reason)
    },
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        if (!listed) await list()
        await follow()
      } catch (error) {
        if (signal.aborted) return
        const failure = error instanceof Error ? error : new Error(String(error))
        if (isFinal(failure)) {
          state.failure = failure
          first.reject(failure)
          return stopping.abort(failure)
        }
        await rest(failure).catch(() => {})
      }
    }
  }

  function isFinal(failure: Error): boolean {
    const now = clock()
    refusals =
      options.isRefusal?.(failure) === true ? { times: (refusals?.times ?? 0) + 1, since: refusals?.since ?? now } : undefined
    return refusals !== undefined && refusals.times >= REFUSALS && now - refusals.since >= REFUSED_MS
  }

  async function list(): Promise<void> {
    const { list: call, place, labelSelector, fieldSelector } = what
    const began = clock()
    const all = await requests.all<T>(call, place, { signal, pick, query: { labelSelector, fieldSelector } })
    const { resourceVersion } = all.metadata
    if (resourceVersion === undefined) throw new ApiFailure('a list without a version', { code: 'BAD_ANSWER', sent: true })
    tell(store.replace(all.items, resourceVersion))
    Object.assign(state, { synced: true, freshAt: began, failure: undefined })
    listed = true
    refusals = undefined
    first.resolve()
  }

  /** Until the server ends it: then the next one goes on from the last version that was seen. */
  async function follow(): Promise<void> {
    const began = clock()
    let events = 0
    const timeoutSeconds = Math.ceil(watchSeconds * (1 + random()))
    const how = { resourceVersion: store.version ?? '', timeoutSeconds, silenceMs, signal }
    for await (const { type, object } of watchOnce<T>(requests, what, how)) {
      events++
      refusals = undefined
      backOff.reset()
      Object.assign(state, { freshAt: clock(), failure: undefined })
      tell(store.apply(type, pick(object)))
    }
    if (events === 0 && clock() - began < SHORT_MS) throw new ApiFailure('a watch ended at once', { code: 'SHORT', sent: true })
  }

  async function rest(failure: Error): Promise<void> {
    state.failure = failure
    options.onFailure?.(failure)
    const expired = isExpired(failure)
    if (expired) listed = false
    // A dead connection says nothing of the server: it is tried at once, and only what fails then waits.
    const silent = failure instanceof ApiFailure && failure.code === 'SILENT'
    const wanted = failure instanceof ApiFailure ? failure.retryAfterMs : undefined
    if (!silent) await pause(backOff.next(wanted), signal)
  }

  function tell(changes: readonly Change<T>[]): void {
    for (const taker of takers) for (const change of changes) taker.add(change)
  }
}

interface Taker<T> {
  add(change: Change<T>): void
  next(signal: AbortSignal): Promise<Change<T>>
}

/** The last change of each object, in the order of the first one that still waits. */
function createTaker<T extends ApiObject>(now: Iterable<T>): Taker<T> {
  const waiting = new Map<string, Change<T>>()
  for (const object of now) waiting.set(uidOf(object), { type: 'set', object })
  let wake: (() => void) | undefined
  return {
    add(change) {
      waiting.set(uidOf(change.object), change)
      wake?.()
    },
    async next(signal) {
      for (;;) {
        signal.throwIfAborted()
        const [first] = waiting
        if (first !== undefined) {
          waiting.delete(first[0])
          return first[1]
        }
        await raceAbort(new Promise<void>((resolve) => (wake = resolve)), signal)
      }
    },
  }
}
