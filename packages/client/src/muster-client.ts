/** What a client of a daemon can ask: every operation of its API as a function. */
import type { OperationName } from './call.ts'
import type { MusterError } from './errors.ts'
import type { EventOptions } from './events.ts'
import type {
  Artifact,
  Condition,
  ConfigChange,
  DevPlugin,
  CrashBundle,
  CrashPage,
  Decision,
  ExecRequest,
  Lease,
  LeaseAnswer,
  LeasePage,
  LeaseRequest,
  LogState,
  Operations,
  Pool,
  Orphan,
  PluginAcknowledged,
  PluginUpgrade,
  Provider,
  Run,
  RunPage,
  RunRequest,
  Token,
  Version,
  WorkerInfo,
  WorkerPage,
} from './generated/api.ts'
import type { LogChunk, LogReadOptions } from './log-stream.ts'
import type { Terminal, TerminalRequest } from './terminal.ts'
import type { Output, Saving } from './transfer.ts'

export interface Waiting {
  signal?: AbortSignal
}

/** For calls that may take long and change much: whoever waits wants to know. */
export interface Telling {
  /** Told once, and at once, when the connection ends before the answer: whether it was done is not known. The call is repeated all the same. */
  onCut?: (error: MusterError) => void
}

export interface Creating extends Waiting {
  /** Makes a repeated call one; a random one by default, so that a call that is repeated while the daemon restarts creates nothing twice. */
  key?: string
  /** The W3C trace context that it belongs to, instead of the one of {@link connect}. */
  traceparent?: string
}

type Query<K extends OperationName> = NonNullable<Operations[K]['query']>
type Body<K extends OperationName> = NonNullable<Operations[K]['body']>
type WhyKind = Operations['why']['params']['kind']

/** What was decided about one thing, oldest first. */
export interface Story {
  decisions: Decision[]
  /** There are earlier ones than the limit let in. */
  earlier: boolean
  /** The first ones were dropped: decisions are kept since then. */
  droppedBefore?: string
}

/**
 * All calls are repeated while the daemon is away, for a minute, once it has answered before. Errors: {@link MusterError}, and the
 * signal's own reason.
 */
export interface MusterClient {
  /** The address, for messages. */
  readonly address: string
  version(options?: Waiting): Promise<Version>
  conditions(): Promise<Condition[]>
  /** Every decision about one thing, oldest first. */
  why(kind: WhyKind, id: string, limit?: number): Promise<Decision[]>
  /** The same, and whether that is all of it. */
  story(kind: WhyKind, id: string, limit?: number): Promise<Story>
  /** Decisions as they are made. Never ends by itself. */
  events(options?: EventOptions): AsyncIterable<Decision>
  /** Lets the daemon read its configuration again and apply what differs; `config-refused` with all problems when anything is wrong. */
  apply(how?: Body<'applyConfig'>, given?: Telling): Promise<{ applied: boolean; changes: ConfigChange[] }>
  readonly plugins: {
    /** Lets the version that the lock holds take over; `plugin-refused` or `not-accounted` when it cannot, and nothing has changed. */
    upgrade(alias: string, how?: Body<'upgradePlugin'>, given?: Telling): Promise<PluginUpgrade>
    /** It was seen that it fell back to the version before: the condition of its pools ends. Role operator. */
    acknowledge(alias: string): Promise<PluginAcknowledged>
  }
  readonly dev: {
    /** Attaches a plugin under development until a deadline, or lets its files as they are now take over; `config-refused` with all problems. */
    attach(name: string, asked: Body<'attachDevPlugin'>): Promise<DevPlugin>
    detach(name: string): Promise<void>
  }
  readonly pools: {
    list(): Promise<Pool[]>
    get(name: string): Promise<Pool>
    /** Until it is resumed nothing is launched and nothing handed out. */
    pause(name: string, how?: Body<'pausePool'>): Promise<Pool>
    /** Until it is resumed it keeps no worker that nobody holds. */
    drain(name: string, how?: Body<'drainPool'>): Promise<Pool>
    resume(name: string, how?: Body<'resumePool'>): Promise<Pool>
  }
  readonly providers: {
    list(): Promise<Provider[]>
    get(name: string): Promise<Provider>
    /** Until it is enabled no launch goes to it. */
    disable(name: string, how?: Body<'disableProvider'>): Promise<Provider>
    enable(name: string, how?: Body<'enableProvider'>): Promise<Provider>
    /** Crash bundles of plugins, the newest first, without their output. Role admin. */
    crashes(query?: Query<'listCrashes'>): Promise<CrashPage>
    crash(id: string): Promise<CrashBundle>
    /** Workers of ours that no record knows, as the last look showed them. */
    orphans(name: string): Promise<Orphan[]>
    /** Gives up one that the configuration names no longer; says what was known to be left there. Role admin. */
    forget(name: string, how: Body<'forgetProvider'>): Promise<Operations['forgetProvider']['answer']>
    /** Looks at a provider now. */
    reconcile(name: string, options?: { reclaimOrphans?: boolean }): Promise<{ orphansReclaimed: number }>
  }
  readonly leases: {
    create(request: LeaseRequest, options?: Creating): Promise<Lease>
    get(id: string): Promise<LeaseAnswer>
    list(query?: Query<'listLeases'>): Promise<LeasePage>
    /** Resolves once it is active (or `until`), or has ended: look at its state. */
    wait(id: string, options?: Waiting & { until?: Lease['state'] & ('assigned' | 'active' | 'ended') }): Promise<LeaseAnswer>
    renew(id: string, ttlMs?: number): Promise<Lease>
    release(id: string, how?: Body<'releaseLease'>): Promise<Lease>
  }
  readonly runs: {
    create(request: RunRequest, options?: Creating): Promise<Run>
    get(id: string): Promise<Run>
    list(query?: Query<'listRuns'>): Promise<RunPage>
    /** Resolves once it has ended, or has come as far as `until`. */
    wait(id: string, options?: Waiting & { until?: Run['state'] }): Promise<Run>
    cancel(id: string, how?: Body<'cancelRun'> & Waiting): Promise<Run>
    /** Every byte of its output once, also over restarts of the daemon. */
    logs(id: string, options?: LogReadOptions): AsyncIterable<LogChunk>
    logState(id: string): Promise<LogState>
    /** `tar` is asked anew for each try, and must give the same bytes. See `packFolder`. */
    putInput(id: string, input: Waiting & { name: string; tar: () => AsyncIterable<Uint8Array> }): Promise<Artifact>
    getOutput(id: string, name: string, options?: Waiting): Promise<Output>
    /** As the file or folder `target`; resolves with the SHA-256 of its tar. */
    saveOutput(id: string, output: Waiting & Saving & { name: string }): Promise<string | undefined>
    /** Resolves with false when the command read no more before the end of `source`. */
    stdin(id: string, source: AsyncIterable<Uint8Array>, options?: Waiting): Promise<boolean>
  }
  readonly workers: {
    get(id: string): Promise<WorkerInfo>
    list(query?: Query<'listWorkers'>): Promise<WorkerPage>
    terminate(id: string, how?: Body<'terminateWorker'>): Promise<WorkerInfo>
    /** Takes it out of hand-outs, and leaves it alone. */
    cordon(id: string, how?: Body<'cordonWorker'>): Promise<WorkerInfo>
    uncordon(id: string, how?: Body<'uncordonWorker'>): Promise<WorkerInfo>
    /** Closes a record that cannot be closed otherwise. */
    forget(id: string, how: Body<'forgetWorker'>): Promise<WorkerInfo>
    /** A run of kind `exec`: follow it as any other. */
    exec(id: string, request: ExecRequest, options?: Creating): Promise<Run>
    /** A command at a terminal: it ends with the signal, and nobody attaches to it again. It is no run, and no log keeps what it shows. */
    terminal(id: string, at: Waiting & TerminalRequest): Promise<Terminal>
    /** Unpacks a tar under `path`; `tar` is asked anew for each try. See `packTree`. */
    putFiles(id: string, copy: Waiting & { path: string; tar: () => AsyncIterable<Uint8Array> }): Promise<void>
    /** `path` as the file or folder `target`, all or nothing; what cannot be read to its end fails with the reason, and what could be read is `target.incomplete`. */
    saveFiles(id: string, copy: Waiting & Saving & { path: string }): Promise<void>
    /** A connection to a port inside: `input` goes there, the result comes from there. Cut off, it fails, and is not made again. */
    forward(id: string, to: Waiting & { port: number; input: AsyncIterable<Uint8Array> }): Promise<AsyncIterable<Uint8Array>>
  }
  readonly tokens: {
    /** The text of the token is given this once. */
    create(request: Body<'createToken'>, options?: Creating): Promise<{ token: string; details: Token }>
    /** All that are not revoked, newest first. */
    list(): Promise<Token[]>
    revoke(id: string): Promise<void>
  }
  /** What the daemon has on its disk, by kind. */
  storage(): Promise<Operations['storage']['answer']>
  /** A backup, one consistent state of the store, as a tar that ends with its manifest. Role admin; one at a time. */
  backup(content?: Body<'createBackup'> & Waiting): Promise<AsyncIterable<Uint8Array>>
  /** Lets go of idle connections. */
  close(): void
}
