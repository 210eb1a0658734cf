/** A vendor in memory, as the truth that tests compare records with, and a provider over it that fails as it is told. */
import {
  type LaunchSpec,
  type PoolRequest,
  ProviderError,
  type ProviderPhase,
  type WorkerCapabilities,
  type WorkerExit,
  type WorkerObservation,
  type WorkerPage,
  type WorkerPluginManifest,
  type WorkerStats,
  type WorkerTarget,
} from '@muster/core'
import type { GuardedProvider, ProviderState, ProviderStatus } from '../../plugins/api.ts'
import type { Clock } from '../clock.ts'
import { fullCapabilities } from './capabilities.ts'
import { newsOf, type Told } from './news.ts'

export interface VendorWorker {
  spec: LaunchSpec
  phase: ProviderPhase
  ready: boolean
  exit?: WorkerExit
  problem?: WorkerObservation['problem']
  part?: string
  /** From then on list and inspect show it. */
  visibleAt: number
}

export interface Vendor {
  readonly workers: Map<string, VendorWorker>
  /** Every worker ever made, in order: two entries of one id would be a duplicate over time. */
  readonly made: string[]
  /** Every call, in order. */
  readonly calls: { method: string; id?: string; attempt?: number; force?: boolean; everyMs?: number; leased?: boolean }[]
}

/** What happens to one call; absent parts are as usual. */
export interface Fault {
  /** Throws this; `effect` says whether the work is done before. */
  error?: ProviderError
  effect?: boolean
  /** Answers only after so many milliseconds; `early`: the work is done at once, else at the end. */
  delayMs?: number
  early?: boolean
  /** The vendor goes on with the work although the call was aborted. */
  late?: boolean
  /** Changes what a list answers. */
  page?: (page: WorkerPage) => WorkerPage
}

export interface ScriptOptions {
  name: string
  owner: string
  /** Of its plugin; default 1.0.0 of one package for all. */
  version?: string
  package?: string
  clock: Clock
  vendor?: Vendor
  capabilities?: Partial<WorkerCapabilities>
  inFlight?: number
  /** Time from launch until ready. */
  readyMs?: number
  /** Time from launch until list and inspect show it; what is declared is in the capabilities. */
  lagMs?: number
  /** Told of every worker that is made. */
  made?: (id: string) => void
  /** Told of every pool that is prepared; absent: there is nothing to prepare. */
  prepared?: (pool: string, request: Omit<PoolRequest, 'tags'>) => void | Promise<void>
  /** Told of every pool that is prepared no longer, by the digest of what was made. */
  unprepared?: (pool: string, digest: string) => void
  /** Asked for every call, with the worker's id, or the pool's name. */
  fault?: (method: string, id: string | undefined) => Fault | undefined
}

export interface ScriptedProvider extends GuardedProvider {
  readonly vendor: Vendor
  setState(state: ProviderState, because?: Partial<ProviderStatus>): void
  onChange(listener: (status: ProviderStatus) => void): () => void
  /** Tells watchers of a worker as it now is. */
  announce(id: string): void
  /** Tells what workers use. */
  sample(...samples: (WorkerStats | ProviderError)[]): void
  /** Breaks the watches that are open. */
  cut(error: ProviderError): void
}

export function newVendor(): Vendor {
  return { workers: new Map(), made: [], calls: [] }
}

export function scriptedProvider(options: ScriptOptions): ScriptedProvider {
  const { name, clock, version = '1.0.0', package: plugin = '@muster-test/vendor' } = options
  const vendor = options.vendor ?? newVendor()
  const capabilities = { ...fullCapabilities, ...options.capabilities }
  const watchers: Told<WorkerObservation> = new Set()
  const samplers: Told<WorkerStats> = new Set()
  const listeners = new Set<(status: ProviderStatus) => void>()
  let state: ProviderState = 'ready'
  let why: Partial<ProviderStatus> = {}

  const status = (): ProviderStatus => ({
    ...{ name, alias: name },
    plugin: { name, version, contract: '1.0' },
    level: 'L1',
    state,
    ...why,
    since: 0,
    notes: [],
    facts: {},
    ...{ restarts: 0, breaker: 'closed', inFlight: 0, retiring: 0, busiest: { bytes: 0, frames: 0 } },
  })

  function observation(id: string, worker: VendorWorker): WorkerObservation {
    return {
      id,
      handle: { v: 1, data: { id } },
      tags: worker.spec.tags,
      phase: worker.phase,
      ready: worker.ready,
      ...(worker.part === undefined ? {} : { part: worker.part }),
      ...(worker.exit === undefined ? {} : { exit: worker.exit }),
      ...(worker.problem === undefined ? {} : { problem: worker.problem }),
    }
  }

  function announce(id: string): void {
    const worker = vendor.workers.get(id)
    if (worker !== undefined) for (const tell of watchers) tell(observation(id, worker))
  }

  async function call<T>(given: { method: string; id?: string; signal?: AbortSignal | undefined; work: () => T }): Promise<T> {
    const { method, id, work, signal } = given
    const fault = options.fault?.(method, id)
    let early: { value: T } | undefined
    if (fault?.error !== undefined ? fault.effect === true && fault.early === true : fault?.early === true)
      early = { value: work() }
    if (fault?.delayMs !== undefined) {
      let over = false
      const goOn = (): void => {
        // Nobody reads what comes of it, and it may fail as it likes. A call that was answered has nothing left to do.
        if (!over)
          void clock.after(
            fault.delayMs ?? 0,
            () =>
              void Promise.resolve()
                .then(work)
                .catch(() => {}),
          )
      }
      if (fault.late === true && early === undefined && fault.error === undefined)
        signal?.addEventListener('abort', goOn, { once: true })
      await delay(fault.delayMs, signal)
      over = true
    }
    if (fault?.error !== undefined) {
      if (fault.effect === true && early === undefined) work()
      throw fault.error
    }
    return early === undefined ? work() : early.value
  }

  function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = clock.after(ms, resolve)
      const abort = (): void => {
        cancel()
        reject(new ProviderError('cancelled', 'nobody waits any more'))
      }
      if (signal?.aborted === true) abort()
      else signal?.addEventListener('abort', abort)
    })
  }

  function make(spec: LaunchSpec): void {
    const known = vendor.workers.get(spec.id)
    if (known !== undefined) {
      if (JSON.stringify(known.spec) !== JSON.stringify(spec))
        throw new ProviderError('conflict', 'the id has another spec', { effect: 'none' })
      return
    }
    vendor.made.push(spec.id)
    options.made?.(spec.id)
    vendor.workers.set(spec.id, {
      spec,
      phase: 'provisioning',
      ready: false,
      visibleAt: clock.now() + (options.lagMs ?? 0),
    })
    const start = (): void => {
      const worker = vendor.workers.get(spec.id)
      if (worker?.phase !== 'provisioning' || worker.problem !== undefined) return
      worker.phase = 'running'
      worker.ready = true
      announce(spec.id)
    }
    if (options.readyMs === 0) start()
    else clock.after(options.readyMs ?? 10, start)
  }

  const shown = (id: string): WorkerObservation[] => {
    const worker = vendor.workers.get(id)
    return worker === undefined || worker.visibleAt > clock.now() ? [] : [observation(id, worker)]
  }

  async function list(query: { limit: number; cursor?: string }): Promise<WorkerPage> {
    vendor.calls.push({ method: 'list' })
    const fault = options.fault?.('list', undefined)
    return call({
      method: 'list-page',
      work: () => {
        if (fault?.error !== undefined) throw fault.error
        const ours = [...vendor.workers]
          .filter(
            ([, worker]) => worker.spec.tags['muster-owner'] === options.owner && worker.spec.tags['muster-provider'] === name,
          )
          .map(([id]) => id)
        const from = Number(query.cursor ?? 0)
        const page: WorkerPage = {
          workers: ours.slice(from, from + query.limit).flatMap(shown),
          asOf: new Date(clock.now()).toISOString(),
          ...(from + query.limit < ours.length ? { next: String(from + query.limit) } : {}),
        }
        return fault?.page?.(page) ?? page
      },
    })
  }

  async function* news<T>(
    asked: { method: 'watch' | 'stats'; everyMs?: number },
    told: Told<T>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<T> {
    vendor.calls.push(asked)
    await call({ method: asked.method, work: () => undefined })
    yield* newsOf(told, signal)
  }

  const missing = (): never => {
    throw new ProviderError('unsupported', 'not part of this vendor', { effect: 'none' })
  }
  return {
    name,
    vendor,
    capabilities,
    manifest: {
      ...{ name: plugin, version, capabilities },
      limits: { startMs: 1, retireMs: 1, heapMb: 16, inFlight: options.inFlight ?? 64 },
    } as WorkerPluginManifest,
    status,
    announce,
    sample: (...samples) => {
      for (const one of samples) for (const tell of samplers) tell(one)
    },
    cut: (error) => {
      for (const tell of watchers) tell(error)
    },
    setState: (next, because) => {
      state = next
      why = because ?? {}
      for (const listener of listeners) listener(status())
    },
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    probe: async () => ({ state: 'ready' }),
    launch: (spec, { attempt, signal }) => {
      vendor.calls.push({ method: 'launch', id: spec.id, ...(attempt === undefined ? {} : { attempt }) })
      return call({
        method: 'launch',
        id: spec.id,
        signal,
        work: () => {
          make(spec)
          return { handle: { v: 1, data: { id: spec.id } } }
        },
      })
    },
    terminate: ({ id }, how, { signal }) => {
      vendor.calls.push({ method: 'terminate', id, force: how.force })
      return call({
        method: 'terminate',
        id,
        signal,
        work: () => {
          vendor.workers.delete(id)
          return { state: 'gone' as const }
        },
      })
    },
    list,
    inspect: (targets: readonly WorkerTarget[]) => {
      for (const { id } of targets) vendor.calls.push({ method: 'inspect', id })
      return call({ method: 'inspect', work: () => targets.flatMap(({ id }) => shown(id)) })
    },
    watch: (given) => news({ method: 'watch' }, watchers, given?.signal),
    logs: missing,
    exec: missing,
    execState: missing,
    execKill: missing,
    copyIn: missing,
    copyOut: missing,
    forward: missing,
    suspend: missing,
    resume: missing,
    mark: ({ id }, { leased }) => {
      vendor.calls.push({ method: 'mark', id, leased })
      return call({ method: 'mark', id, work: () => undefined })
    },
    stats: ({ everyMs }, given) => news({ method: 'stats', everyMs }, samplers, given?.signal),
    headroom: missing,
    quote: missing,
    preparePool: async (request) => {
      await (options.prepared ?? missing)(request.pool, request)
      const digest = `${request.pool}-${request.image ?? 'none'}`
      return { handle: { v: 1, data: { digest } }, digest }
    },
    unpreparePool: ({ pool: { pool }, handle }) =>
      call({
        method: 'unpreparePool',
        id: pool,
        work: () => {
          if ([...vendor.workers.values()].some(({ spec }) => spec.tags['muster-pool'] === pool))
            throw new ProviderError('conflict', 'it has live workers', { effect: 'none' })
          options.unprepared?.(pool, (handle.data as { digest: string }).digest)
        },
      }),
  }
}
