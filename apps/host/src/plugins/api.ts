/** What the engine sees of the plugins room: guarded providers, and how each one does. */
import type {
  ExecId,
  ExecInput,
  ExecSession,
  ExecState,
  Headroom,
  LaunchedWorker,
  LaunchSpec,
  ListQuery,
  LogChunk,
  LogOptions,
  PoolRef,
  PoolRequest,
  Handle,
  Probe,
  ProviderErrorCode,
  Quote,
  QuoteShape,
  SpanBatch,
  SuspendHow,
  Terminated,
  StatsQuery,
  TerminalSize,
  TerminateHow,
  WorkerCapabilities,
  WorkerMark,
  WorkerObservation,
  WorkerPage,
  WorkerPluginManifest,
  WorkerStats,
  WorkerTarget,
} from '@muster/core'

import type { IsolationLevel } from './registry.ts'

/** What a caller adds to a call; the guard makes the contract's `Call` of it. */
export interface CallOptions {
  /** The same on every attempt of one intended effect; made by the guard when absent (reads). */
  idempotencyKey?: string
  attempt?: number
  /** Milliseconds; the guard has a default for each method. */
  timeoutMs?: number
  signal?: AbortSignal
  traceparent?: string
}

/** A command in a worker. One at a terminal stays with the process that began it, whichever takes over from that. */
export interface GuardedSession extends ExecSession {
  /** Of a terminal: another size. */
  resize(size: TerminalSize, options?: CallOptions): Promise<void>
}

/**
 * A provider behind its guard. Every method settles by its deadline and fails only with ProviderError. Mutating methods (launch,
 * terminate, preparePool, suspend, …) are refused with `cancelled`, effect `none`, when the host's term is too short to act.
 * While the process is down: `transient`, effect `none`, with `retryAfterMs`.
 */
export interface GuardedProvider {
  readonly name: string
  readonly manifest: WorkerPluginManifest
  readonly capabilities: WorkerCapabilities
  status(): ProviderStatus
  probe(options?: CallOptions): Promise<Probe>
  launch(spec: LaunchSpec, options: CallOptions): Promise<LaunchedWorker>
  terminate(target: WorkerTarget, how: TerminateHow, options: CallOptions): Promise<Terminated>
  list(query: Omit<ListQuery, 'tags'>, options?: CallOptions): Promise<ProviderPage>
  inspect(targets: readonly WorkerTarget[], options?: CallOptions): Promise<readonly WorkerObservation[]>
  /** The next are there only when the capability is declared: check `capabilities` first. */
  watch(options?: CallOptions): AsyncIterable<WorkerObservation>
  logs(target: WorkerTarget, options: LogOptions, call?: CallOptions): AsyncIterable<LogChunk>
  exec(target: WorkerTarget, command: ExecInput, options?: CallOptions): Promise<GuardedSession>
  execState(target: WorkerTarget, id: ExecId, options?: CallOptions): Promise<ExecState>
  execKill(
    target: WorkerTarget,
    kill: { id: ExecId; signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT' },
    options?: CallOptions,
  ): Promise<void>
  copyIn(target: WorkerTarget, input: { path: string; tar: AsyncIterable<Uint8Array> }, options?: CallOptions): Promise<void>
  copyOut(target: WorkerTarget, path: string, options?: CallOptions): AsyncIterable<Uint8Array>
  forward(
    target: WorkerTarget,
    input: { port: number; input: AsyncIterable<Uint8Array> },
    options?: CallOptions,
  ): AsyncIterable<Uint8Array>
  suspend(target: WorkerTarget, how: SuspendHow, options?: CallOptions): Promise<void>
  resume(target: WorkerTarget, options?: CallOptions): Promise<void>
  mark(target: WorkerTarget, mark: WorkerMark, options?: CallOptions): Promise<void>
  stats(query: Omit<StatsQuery, 'tags'>, options?: CallOptions): AsyncIterable<WorkerStats>
  headroom(options?: CallOptions): Promise<Headroom>
  quote(shape: QuoteShape, options?: CallOptions): Promise<Quote>
  preparePool(pool: Omit<PoolRequest, 'tags'>, options?: CallOptions): Promise<{ handle: Handle; digest: string }>
  unpreparePool(target: { pool: Omit<PoolRef, 'tags'>; handle: Handle }, options?: CallOptions): Promise<void>
}

/** A page of all workers of a provider. */
export interface ProviderPage extends WorkerPage {
  /** The older version of its plugin that could not be asked for its own ones. */
  unseen?: string
}

/** starting: no process is ready yet · degraded: it runs or is being restarted, but new work goes elsewhere · failed: given up, see reason */
export type ProviderState = 'starting' | 'ready' | 'degraded' | 'quarantined' | 'failed' | 'stopped'

/** One that waits for its answer. */
export interface OpenCall {
  method: string
  since: number
}

export interface ProviderStatus {
  name: string
  alias: string
  plugin: { name: string; version: string; contract: string }
  /** How far its plugin is kept in. */
  level: IsolationLevel
  state: ProviderState
  since: number
  reason?: string
  hint?: string
  notes: string[]
  facts: Record<string, string>
  pid?: number
  restarts: number
  breaker: 'closed' | 'open' | 'half-open'
  inFlight: number
  /** Of those whose answer does not last, as a log's does. */
  oldestCall?: OpenCall
  /** Its process answers nothing since then, not even the host's own question. */
  silentSince?: number
  /** Processes of before that end once their open calls have. */
  retiring: number
  /** The most that one turn of the host's event loop has taken from its processes. */
  busiest: { bytes: number; frames: number }
  /** Path of the last crash bundle, relative to the data folder. */
  crashBundle?: string
  /** An older version of its plugin that goes on for workers which this one does not account for. */
  kept?: KeptStatus
}

export interface KeptStatus {
  version: string
  state: ProviderState
  since: number
  reason?: string
  hint?: string
  pid?: number
  restarts: number
}

/** A call to a provider that begins. */
export interface WitnessedCall {
  provider: string
  method: string
  attempt: number
  /** An answer that lasts: its duration says nothing of the provider. */
  stream: boolean
  /** The context that the caller gave. */
  traceparent?: string
}

/** own: all places of its own provider were taken, or its breaker tried another call first · others: anything else, which no call may wait for */
export type WaitReason = 'own' | 'others'

/** Told of each call when it begins; what it returns is told how the call ended. Neither throws. */
export type CallWitness = (call: WitnessedCall) => {
  /** The context that travels with the call. */
  traceparent: string
  /** Told what the plugin did for the call; absent: nobody records it. */
  spans?(batch: SpanBatch): void
  /** It did not go to the plugin in the turn in which it was asked for. Told before its end. */
  waited?(reason: WaitReason): void
  end(code: ProviderErrorCode | 'ok'): void
}

/** May this host act now? From the store's term; the guard asks before each mutating call. */
export interface Fence {
  epoch(): number
  mayAct(): boolean
}

export interface PluginRoom {
  /** Error: when there is none of that name. */
  provider(name: string): GuardedProvider
  /** With a worker: as the version of its plugin that serves this one. */
  find(name: string, worker?: string): GuardedProvider | undefined
  list(): readonly GuardedProvider[]
  /** Starts the process of a provider now where it is left alone after a fault; settles when that start has ended, well or not. */
  wake(name: string): Promise<void>
  /** Told after each change of a provider's status. Returns the unsubscriber. */
  onChange(listener: (status: ProviderStatus) => void): () => void
  /** Told when the older version that was kept for a provider does better or worse. Returns the unsubscriber. */
  onKept(listener: (name: string) => void): () => void
  /** Who tells to which version of its provider's plugin a worker belongs; undefined: it has no record. */
  ownedBy(ownerOf: (worker: string) => string | null | undefined): void
  /** Lets the older version of a provider go: its process ends once its open calls have. */
  letGo(name: string): void
  /** Providers that the configuration names no longer; they run until they are dropped. */
  leaving(): readonly string[]
  /** Without what the plugin of this provider was given as secrets. */
  clean(name: string, text: string): string
  /** Ends the process of a leaving provider, and forgets it. `left`: it may have something in its own folder still, which stays then. */
  drop(name: string, how?: { left?: boolean }): Promise<void>
  stop(): Promise<void>
}
