/**
 * The engine, as the API, the command line and the run driver see it. Everything that changes something resolves when it is durable.
 *
 * Errors are EngineError (below) and StoreError of the store room; nothing else is thrown on purpose.
 */
import type { WorkerTarget } from '@muster/core'
import type { GuardedProvider, PluginRoom } from '../plugins/api.ts'
import type { Sealer } from '../store/seal.ts'
import type { AfterCommit, Store, Tx } from '../store/store.ts'
import type { PoolUsage, Usage } from './used.ts'
import type { Clock } from './clock.ts'
import type { ConditionType } from './condition-types.ts'
import type { ProviderEntry } from './entries.ts'
import type {
  ConditionRecord,
  JournalEntry,
  JournalRow,
  LeaseRecord,
  LeaseRequest,
  LiveWorker,
  PoolConfig,
  Refusal,
  WishRecord,
  WorkerRecord,
} from './model.ts'
import type { PluginVersion, Upgrades } from './upgrade-api.ts'

export interface Engine {
  readonly owner: string
  readonly store: Store
  readonly sealer: Sealer
  readonly clock: Clock
  readonly plugins: PluginRoom
  readonly pools: Pools
  readonly providers: Providers
  readonly leases: Leases
  readonly workers: Workers
  readonly agents: Agents
  readonly journal: Journal
  readonly events: EngineEvents
  readonly conditions: Conditions
  readonly usage: Usage
  readonly changes: Changes
  /** The provider that has a worker; undefined when the configuration no longer names it. */
  providerOf(worker: { provider: string; id?: string }): GuardedProvider | undefined
  /** May this host act now? By its term. */
  acting(): boolean
  /** What came of the first list of a provider since the start, and of the last one. */
  looked(provider: string): Look
  /**
   * Lists now instead of at the next interval; resolves when the pass has been applied. Without a name: all providers. What a provider refused is
   * forgotten, unless only a run asks, which misses its worker.
   */
  reconcile(provider?: string, by?: 'run'): Promise<void>
  /** Workers with our tag and no record that are known now, as the last list showed them; the longest known first. Errors: StoreError. */
  orphans(provider: string): Promise<readonly OrphanView[]>
  /** Lets one pass of a provider remove more orphans than the bound allows; an operator's decision. */
  reclaimOrphans(provider: string): Promise<number>
  /**
   * Takes another configuration, all of it at once: `commit` lets its providers take over. Leases and workers that are there go on as they
   * are; what it names no longer is drained. Nothing has changed when it rejects (StoreError).
   */
  configure(next: EngineConfig, how: ConfigureHow): Promise<void>
  /** Other versions of the plugins that run. */
  readonly upgrades: Upgrades
  /** Takes no new work, lets open calls settle, leaves every worker as it is. */
  stop(): Promise<void>
}

export interface OrphanCount {
  /** Are there now: left alone, or asked to end. */
  known: number
  /** Are gone since this host asked for it, since its start. */
  removed: number
  /** When the last of these was; the machine's time. */
  removedAt?: number
}

export interface OrphanView {
  id: string
  /** As its tag says. */
  pool: string
  firstSeen: number
  state: 'quarantined' | 'removing'
  /** Left alone until then. */
  dueAt: number
}

export interface EngineSettings {
  owner: string
  /** How the workers of each provider reach this host; agents are told. */
  urls?: Readonly<Record<string, string>>
  /** Digest of the configuration of each provider, also of one that leaves: two that are alike mean the same place. */
  configs?: Readonly<Record<string, string>>
  /** How often what workers of each provider use is looked at, in milliseconds at least; `off`: never. Absent: the usual. */
  stats?: Readonly<Record<string, number | 'off'>>
  reconcileMs: number
  orphanGraceMs: number
  /** Ended workers and leases, and journal rows, are dropped when older, or when more, than these; tokens when they ended so long ago. */
  retention: { recordsMs: number; journalMs: number; records?: number; journalRows?: number; tokensMs?: number }
}

/** The parts of a configuration that the engine goes by. */
export type EngineConfig = Omit<EngineSettings, 'owner'> & { pools: readonly PoolConfig[] }

export interface ConfigureHow {
  principal: string
  /** What differs, for the journal. */
  changes: readonly unknown[]
  /** Versions that take over from others, by provider: all its workers are accounted for. Absent: none. */
  versions?: Readonly<Record<string, PluginVersion>>
  /** Ids of workers that the next process of their provider was asked for and knows, by provider. Absent: none was. */
  known?: Readonly<Record<string, readonly string[]>>
  /** How the providers that it names are configured, for the daemons to come. Absent: as before. */
  entries?: readonly ProviderEntry[]
  /** Lets the providers of the next configuration take over. */
  commit(): void
}

/**
 * Told right after each commit, in order, for those who count. A listener is quick, never throws, and stays as long as the engine.
 * What was there at the start is not told.
 */
export interface Changes {
  onWorker(listener: (now: LiveWorker, before: LiveWorker | undefined) => void): void
  onLease(listener: (now: LeaseRecord, before: LeaseRecord | undefined) => void): void
  onDecision(listener: (row: JournalRow) => void): void
}

export interface Look {
  /** A list has ended, well or not. */
  looked: boolean
  /** Why the last one failed; absent: it did not. */
  failed?: string
  /** It came with another configuration, while the daemon ran. */
  late?: true
}

/** A further change in the same transaction: the run driver writes its own rows with it. */
export type Also<T> = (tx: Tx, after: AfterCommit, value: T) => Promise<void>

export interface LeaseView {
  lease: LeaseRecord
  /** The worker it has, once one is made for it; its `exit` and `observed_phase` say how that does. */
  worker?: LiveWorker
}

export interface Leases {
  /** Why no worker of the pool could ever serve this; undefined when one could. Changes nothing. */
  check(request: LeaseRequest): Refusal | undefined
  /** Puts a lease into its pool's queue. Errors: `refused` with the refusal, `stopping`. */
  request(request: LeaseRequest, also?: Also<LeaseRecord>): Promise<LeaseRecord>
  /** A lease that has not ended. */
  get(id: string): LeaseRecord | undefined
  /** Any lease that is still kept. */
  find(id: string): Promise<LeaseRecord | undefined>
  list(query: ListOptions & { pool?: string }): Promise<LeaseRecord[]>
  live(): Iterable<LeaseRecord>
  /** The live lease of a run. */
  ofRun(runId: string): LeaseRecord | undefined
  /** Extends by its ttl from now, at most to the worker's lifetime; never shortens. Errors: `not-found`, `ended`. */
  renew(id: string, how?: RenewHow): Promise<LeaseRecord>
  /**
   * Ends a lease and lets its worker go: to the next lease where the pool re-uses workers, else to terminate. Idempotent. The worker of
   * a run that has not confirmed its log end is kept (draining) until it has, unless `force`.
   */
  release(id: string, how: ReleaseHow, also?: Also<LeaseRecord>): Promise<LeaseRecord>
  /**
   * Resolves with the first view for which `until` is true: now, or after a change of the lease or its worker. An ended lease is always
   * the last view, also when `until` is false for it. Rejects with the signal's reason.
   */
  wait(id: string, until: (view: LeaseView) => boolean, signal?: AbortSignal): Promise<LeaseView>
  /** Told after every change of the lease or its worker, in order. Returns the unsubscriber. */
  observe(id: string, listener: (view: LeaseView) => void): () => void
}

export interface RenewHow {
  /** From now on; absent: as before. */
  ttlMs?: number
  /** Who asks. A time of its own, or of somebody else than the holder, is in the journal. */
  principal?: string
}

export interface ReleaseHow {
  reason: string
  /** Default `released`. */
  end?: 'released' | 'cancelled' | 'failed' | 'expired'
  /** Its run failed: a worker that lives is kept for so long, at most for its lifetime, and given to nobody. */
  keep?: { ms: number; runId: string; outcome: string }
  /** The worker is never used again, though its pool re-uses workers. */
  discard?: boolean
  /** Kill at once, and do not wait for the log. */
  force?: boolean
  /** Its run never took the worker up: there is no log to wait for. */
  unread?: boolean
}

export interface Workers {
  /** A worker that is not gone. */
  get(id: string): LiveWorker | undefined
  find(id: string): Promise<WorkerRecord | undefined>
  list(query: ListOptions & { pool?: string; provider?: string }): Promise<LiveWorker[]>
  live(): Iterable<LiveWorker>
  target(worker: Pick<WorkerRecord, 'id' | 'handle'>): WorkerTarget
  /** An operator's end of a worker. Errors: `not-found`; `leased` when somebody holds it and `force` is not given. */
  terminate(id: string, how: Wishing & { force: boolean }): Promise<LiveWorker>
  /**
   * Takes a worker out of hand-outs and leaves it alone: idle, it stays until its lifetime and counts for no stock; leased, it goes on,
   * and stays idle afterwards where its pool would use it again. What ends with its lease still does. Idempotent. Errors: `not-found`;
   * `conflict` when it is ending.
   */
  cordon(id: string, how: Wishing): Promise<LiveWorker>
  /** Back among those that are handed out; one that is no longer fit for it ends. Idempotent. Errors as above. */
  uncordon(id: string, how: Wishing): Promise<LiveWorker>
  /**
   * Closes a record that nobody can close any more, as `disowned`, and ends its lease. If its vendor still has it, it is an orphan from
   * then on. Errors: `not-found`; `conflict`, with what to do first, while its end was not asked for or may still be confirmed.
   */
  forget(id: string, how: { principal: string; reason: string }): Promise<LiveWorker>
  /**
   * The run of this worker has stored its exit and every byte of its log; from now on the worker may be terminated. Idempotent.
   * A worker made for a run is held for this (`log_hold`) from its assignment on.
   */
  confirmLogEnd(id: string, also?: Also<LiveWorker>): Promise<void>
  /** It takes no command, or one may run on in it that nobody hears of: nobody else is handed it, it ends with its lease. */
  unfit(id: string): void
}

/** Workers that run an agent, which takes work from here. */
export interface Agents {
  /**
   * Exchanges a ticket, once, for the session of its worker, which is ready with that. `from`: who sent it, for the journal. Undefined:
   * it is no ticket of a live worker. Errors: `ticket-used`, and a row says so; `ended` when its worker waits for no agent any more.
   */
  enter(ticket: string, from: string): Promise<{ workerId: string; session: string; heartbeatMs: number } | undefined>
  /** It is the ticket of a live worker, and nobody has exchanged it yet. */
  isGood(ticket: string): boolean
  /** The worker whose session this is, until that is gone; it may be on its way out: ask {@link isOver}. */
  whose(session: string): LiveWorker | undefined
  /** There is nothing left to do for the agent of this worker: its lease has ended, or it has. */
  isOver(worker: LiveWorker): boolean
  /** The agent is there. One that is silent for two minutes is lost, and its worker with it. */
  heard(workerId: string): void
}

export interface ListOptions {
  /** Ended ones too; default false. */
  ended?: boolean
  /** Newest first, at most 500; default 100. */
  limit?: number
  /** Those made before this id. */
  before?: string
}

export interface PoolStatus {
  config: PoolConfig
  /** By record phase; absent is 0. */
  workers: Partial<Record<WorkerRecord['phase'], number>>
  /** Not yet assigned. */
  queued: number
  /** Assigned or active. */
  leases: number
  /** Why the first of the queue waits; empty when nothing waits. */
  waiting: string
  /** Live workers that are handed out to nobody: cordoned, or kept after a failed run. They count against `max`. */
  aside: number
  /** What an operator wishes of it; absent: that it does its work. */
  wish?: WishRecord
  /** Absent: nobody has said what its workers use. */
  usage?: PoolUsage
}

/** An operator's decision: who, and why. */
export interface Wishing {
  principal: string
  reason?: string
}

export interface Pools {
  list(): PoolStatus[]
  get(name: string): PoolStatus | undefined
  /**
   * Until it is resumed nothing is launched and nothing handed out. New leases are taken and wait, leased workers go on, idle ones stay
   * for as long as they may. A launch that is under way goes on; one that was not sent yet is taken back. A drain becomes a pause.
   * Idempotent, and outlives the host, as all wishes do. Error: `not-found`.
   */
  pause(name: string, how: Wishing): Promise<PoolStatus>
  /**
   * Until it is resumed the pool keeps no worker that nobody holds: idle ones end, but not cordoned ones; none is made for stock. What is
   * asked for is still served. A pause becomes a drain. Idempotent. Error: `not-found`.
   */
  drain(name: string, how: Wishing): Promise<PoolStatus>
  /** Ends a pause or a drain. Idempotent. Error: `not-found`. */
  resume(name: string, how: Wishing): Promise<PoolStatus>
}

export interface Providers {
  /** Undefined: it may be used. */
  wish(name: string): WishRecord | undefined
  /** Workers without a record there. */
  orphans(name: string): OrphanCount
  /**
   * Until it is enabled no launch goes to it, and pools use their next placement; one without another waits. Its workers and leases go
   * on, and so do its reads and terminates. Idempotent. Error: `not-found`.
   */
  disable(name: string, how: Wishing): Promise<GuardedProvider>
  /** Idempotent. Error: `not-found`. */
  enable(name: string, how: Wishing): Promise<GuardedProvider>
  /**
   * Lets go of one that the configuration names no longer, whatever it says that it still has. Errors: `not-found`, `conflict` while it is named or
   * has workers with a record.
   */
  forget(name: string, how: { principal: string; reason: string }): Promise<GivenUp>
}

/** What was left at the vendor of a provider. */
export interface GivenUp {
  /** Workers without a record that were known. */
  orphans: number
  /** Pools for which it had prepared something. */
  prepared: string[]
}

export interface JournalPage {
  /** At most 500; default 200. */
  limit?: number
  /** Those before this number. */
  before?: number
}

export interface Journal {
  /** Adds a decision to a transaction; it becomes an event after the commit. */
  append(tx: Tx, after: AfterCommit, entry: JournalEntry): Promise<void>
  /** Every decision about one thing, oldest first: the newest of the page. */
  why(kind: 'worker' | 'lease' | 'run' | 'pool' | 'provider', id: string, page?: JournalPage): Promise<JournalRow[]>
  /**
   * Since when decisions are kept (the machine's time), if retention has dropped the first ones about any of these; undefined: all that was
   * decided about them is there.
   */
  droppedBefore(things: readonly { kind: Parameters<Journal['why']>[0]; id: string }[]): Promise<number | undefined>
  /** Rows after `seq`, oldest first. */
  after(seq: number, limit: number): Promise<JournalRow[]>
}

export interface EngineEvents {
  /** Every journal row after `fromSeq` (absent: only new ones), in order, without a gap. Ends at the signal or at stop. Holds no queue. */
  subscribe(fromSeq?: number, signal?: AbortSignal): AsyncIterable<JournalRow>
  /** Number of the newest row. */
  last(): number
  /** Number before the oldest row that is kept, at least `seq`: what is between them was dropped. */
  keptAfter(seq: number): Promise<number>
}

export interface Conditions {
  /** All that hold now, the store's own too, oldest first. */
  list(): ConditionRecord[]
  /** Raises or renews one; at most one row per scope, name and type. */
  raise(condition: ConditionKey & { message: string; hint: string }): void
  clear(key: ConditionKey): void
  /** Told when one begins and when it is over, the store's own too, also while nothing can be stored. Returns the unsubscriber. */
  onChange(listener: (condition: ConditionRecord, how: 'raised' | 'cleared') => void): () => void
}

export interface ConditionKey {
  scope: 'host' | 'provider' | 'pool'
  name: string
  type: ConditionType
}

export type EngineErrorCode = 'refused' | 'not-found' | 'ended' | 'leased' | 'conflict' | 'ticket-used' | 'stopping' | 'busy'

export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly code: EngineErrorCode
  /** With code `refused`. */
  readonly refusal: Refusal | undefined
  /** What can be done about it. */
  readonly hint: string | undefined

  constructor(code: EngineErrorCode, message: string, more?: Refusal | { hint: string }) {
    super(message)
    this.code = code
    this.hint = more?.hint
    this.refusal = more !== undefined && 'code' in more ? more : undefined
  }
}
