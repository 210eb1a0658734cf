/**
 * The contract of a worker provider: what the host asks of any infrastructure.
 *
 * Everything here crosses a process border. Errors are {@link ProviderError}; every method may throw one. The host is
 * the only place that retries: a provider tries once, tells the truth, and says whether an effect is possible.
 */
import type { ProviderErrorCode } from './errors.ts'
import type { ProviderPhase } from './phase.ts'
import type { Instant, LaunchSpec, NetworkSpec, OwnerTags, Resources, WorkerId } from './spec.ts'

/** The provider's opaque reference to a worker. At most 4 KiB, holds no secret, can be rebuilt from the worker's id. */
export interface Handle {
  /** Version of `data`, one of the capability `handles`. */
  v: number
  data: unknown
}

export interface WorkerTarget {
  id: WorkerId
  /** Absent when the host never got an answer to `launch`. */
  handle?: Handle
}

/** One call's surroundings: the last parameter of every method. */
export interface Call {
  /** Aborts at the deadline or when nobody waits any more; a call settles within a second of it. */
  readonly signal: AbortSignal
  /** Milliseconds since 1970 on this process's clock. */
  readonly deadline: number
  /** The same on every attempt of one intended effect. */
  readonly idempotencyKey: string
  /** Number of the acting host's term. */
  readonly epoch: number
  /** 1, 2, … */
  readonly attempt: number
  readonly log: CallLog
  /** W3C trace context. */
  readonly trace: { readonly traceparent: string; readonly tracestate?: string }
  now(): number
  /**
   * Asks the host for a secret named in the manifest; only inside an open call. Pass the refused value's `version` when the vendor
   * rejected it, so that the host reads it anew.
   */
  secret(name: string, options?: { refused?: string }): Promise<SecretValue>
}

export interface SecretValue {
  value: string
  version: string
}

export interface CallLog {
  debug(message: string, data?: Record<string, unknown>): void
  info(message: string, data?: Record<string, unknown>): void
  warn(message: string, data?: Record<string, unknown>): void
  error(message: string, data?: Record<string, unknown>): void
}

export interface Probe {
  /** `initialising` may be asked again; `failed` says in `message` and `hint` what to mend. */
  state: 'ready' | 'initialising' | 'failed'
  message?: string
  hint?: string
  /** What an operator should know of this provider here, as `no isolation: same user`. */
  notes?: string[]
  /** Facts worth showing: the engine's version, the region. */
  facts?: Record<string, string>
}

export interface PoolRef {
  pool: string
  tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider' | 'muster-pool'>
}

export interface PoolRequest extends PoolRef {
  image?: string
  /** Of the services beside its workers; each once. */
  serviceImages?: string[]
  /** Of its workers. */
  egress?: NonNullable<NetworkSpec['egress']>
  settings?: unknown
}

export interface LaunchedWorker {
  handle: Handle
  /** What was really given, where it was rounded up. */
  granted?: Resources
}

export interface TerminateHow {
  /** Time between stop and kill. */
  graceMs: number
  /** Kill at once, and let go of what cannot be reached. */
  force: boolean
  reason: string
}

export type Terminated = { state: 'gone' } | { state: 'terminating'; by?: Instant }

export interface ListQuery {
  tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>
  /** Most workers of one page, 1 to 500. */
  limit: number
  /** `next` of the page before. */
  cursor?: string
}

export interface WorkerPage {
  workers: WorkerObservation[]
  next?: string
  /** When the vendor's answer was true. */
  asOf: Instant
  /** Parts (machines, regions) that could not be seen: absence there means nothing. */
  blind?: string[]
}

export interface WorkerProblem {
  code: ProviderErrorCode
  message: string
  /** Will it stay so without our doing? */
  final: boolean
}

export interface WorkerExit {
  /** 0 to 255. Absent when the vendor does not know it. */
  code?: number
  /** As `SIGKILL`, when a signal ended it. */
  signal?: string
  oomKilled?: boolean
  /** The most memory it had, where that is known: {@link WorkerStats.memoryPeakBytes}. */
  memoryPeakBytes?: number
  /** One sentence. Where not all output could be kept it goes on `; the end of stdout is missing, WHY`, which the host tells as a problem of the log. */
  reason: string
  at?: Instant
}

export interface WorkerObservation {
  id: WorkerId
  handle: Handle
  tags: OwnerTags
  phase: ProviderPhase
  /** What the readiness check says. Without one: true once it can take work. */
  ready: boolean | 'unknown'
  /** The machine or region it lives in, as named in `blind`. */
  part?: string
  problem?: WorkerProblem
  exit?: WorkerExit
}

export type OutputStream = 'stdout' | 'stderr'

export interface LogOptions {
  /** `cursor` of the last chunk that was stored; the next chunk follows it without gap or overlap. */
  cursor?: string
  /** Stay until the worker has exited and all is read. */
  follow: boolean
}

export interface LogChunk {
  /** `stdout` for everything, where the vendor keeps one stream only. */
  stream: OutputStream
  /** Resumes after this chunk. At most 200 bytes. */
  cursor: string
  /** At most 64 KiB. */
  data: Uint8Array
}

/** Chosen by the host: `/^x[0-9a-z]{26}$/`. */
export type ExecId = string

/** In characters, 1 to 65,535 each. */
export interface TerminalSize {
  columns: number
  rows: number
}

export interface ExecSpec {
  id: ExecId
  command: string[]
  env?: Record<string, string>
  workdir?: string
  user?: string
  /** A terminal of this size, for a person at the other end: see {@link WorkerProvider.exec}. */
  tty?: TerminalSize
  /** Is there a standard input? Without one the command reads end-of-file. */
  stdin: boolean
  /** Bytes of each stream that the host has stored; output goes on from there. 0 on the first attempt. */
  from: { stdout: number; stderr: number }
}

export interface ExecChunk {
  stream: OutputStream
  /** Where `data` begins in its stream. */
  offset: number
  /** At most 64 KiB. */
  data: Uint8Array
}

export interface ExecSession {
  /** Ends when the command has ended and all is read. */
  output: AsyncIterable<ExecChunk>
  /** Settles after `output` has ended. */
  exit: Promise<WorkerExit>
}

export type ExecState = { state: 'running' } | { state: 'exited'; exit: WorkerExit } | { state: 'unknown' }

export interface StatsQuery {
  tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>
  /** Between two samples of one worker. */
  everyMs: number
}

/** One sample. What is summed is summed since the start of the worker. */
export interface WorkerStats {
  id: WorkerId
  at: Instant
  cpuSeconds: number
  /** Without what could be given back at once, as a page cache. */
  memoryBytes: number
  /** The most it had until then, as the vendor counts it, which may count a page cache too. */
  memoryPeakBytes?: number
  pids?: number
  network?: { receivedBytes: number; sentBytes: number }
  /** What went to and came from disks, not what was written to memory first. */
  disk?: { readBytes: number; writtenBytes: number }
}

export interface Headroom {
  slots?: { free: number; total: number }
  cpu?: { free: number; total: number }
  memoryBytes?: { free: number; total: number }
  quotas?: { name: string; used: number; limit: number }[]
}

export interface Quote {
  /** In `currency` per hour. */
  pricePerHour: number
  currency: string
  billingSeconds: number
  expectedStartMs: number
  /** 0 to 1 per hour. */
  interruptionRisk: number
}

export interface QuoteShape {
  image?: string
  resources?: Resources
  arch?: 'amd64' | 'arm64'
}

/** See the head of this file. Optional methods go with a declared capability, never with a throwing stub. */
export interface WorkerProvider {
  /** Checks reachability and rights, changes nothing. */
  probe(call: Call): Promise<Probe>

  /** Makes pool-wide things (network, namespace, task definition). Idempotent; creates beside, never replaces what live workers use. */
  preparePool?(pool: PoolRequest, call: Call): Promise<{ handle: Handle; digest: string }>

  /** Removes them. Idempotent. With live workers: `conflict`. */
  unpreparePool?(target: { pool: PoolRef; handle: Handle }, call: Call): Promise<void>

  /**
   * Resolves when the vendor durably has the worker: the plugin's death then loses nothing. Idempotent by `spec.id`, also across two
   * processes of the plugin. The same id with another spec is `conflict`.
   */
  launch(spec: LaunchSpec, call: Call): Promise<LaunchedWorker>

  /** Stops the worker and frees everything launch made. Idempotent; unknown is gone. */
  terminate(target: WorkerTarget, how: TerminateHow, call: Call): Promise<Terminated>

  /** All workers with these owner tags, half-made ones too, page by page. */
  list(query: ListQuery, call: Call): Promise<WorkerPage>

  /** Up to 100 named workers, asked for sure; one that is absent from the answer is gone. */
  inspect(targets: readonly WorkerTarget[], call: Call): Promise<readonly WorkerObservation[]>

  /** Hints of change; may repeat or lose one. Ends at the call's deadline. */
  watch?(query: ListQuery, call: Call): AsyncIterable<WorkerObservation>

  /** Output of a worker in `command` mode. Ends after exit and drain (with `follow`), or at the end of what is there. */
  logs?(target: WorkerTarget, options: LogOptions, call: Call): AsyncIterable<LogChunk>

  /**
   * Starts a command in a running worker, or attaches to it when this id was started before. `stdin` follows only the first attach.
   * With `tty` it has a terminal: all its output is `stdout`, the end of its input is typed as Ctrl-D, and it lives only as long as this
   * call: with its abort, its deadline or an orderly end of the plugin the terminal hangs up. Nobody attaches to it; its id is used once.
   */
  exec?(target: WorkerTarget, command: ExecInput, call: Call): Promise<ExecSession>

  execState?(target: WorkerTarget, id: ExecId, call: Call): Promise<ExecState>

  /** Ends the command with a signal, its process group too. Unknown or ended: nothing happens. */
  execKill?(target: WorkerTarget, kill: { id: ExecId; signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT' }, call: Call): Promise<void>

  /** Gives a command's terminal another size, which the command hears of (SIGWINCH). Unknown or ended: nothing happens. */
  execResize?(target: WorkerTarget, resize: ExecResize, call: Call): Promise<void>

  /**
   * Unpacks a tar stream under `path`, file by file over what is there. A file in the place of a folder, or a folder in the place of a file or a
   * link, is `invalid-spec` with this path, and what is there stays; earlier entries may be there by then.
   */
  copyIn?(target: WorkerTarget, input: CopyInput, call: Call): Promise<void>

  /**
   * A tar of `path`: one entry tree named by its last part. A missing path is `not-found` with `path`. What is not known to be whole, as a file
   * that got shorter while it was read, fails, at its end at the latest.
   */
  copyOut?(target: WorkerTarget, path: string, call: Call): AsyncIterable<Uint8Array>

  /** A TCP stream to a port inside the worker. */
  forward?(target: WorkerTarget, input: ForwardInput, call: Call): AsyncIterable<Uint8Array>

  /**
   * Makes a running worker stand still, in one of the declared ways; another one is `unsupported` at `keeps`. Idempotent; a worker that is
   * suspended in another way, and one that cannot be in this way, is `conflict`. Terminate and resume are what a suspended worker takes.
   */
  suspend?(target: WorkerTarget, how: SuspendHow, call: Call): Promise<void>

  /** Lets a suspended worker go on, in whatever way it was suspended. Idempotent. */
  resume?(target: WorkerTarget, call: Call): Promise<void>

  /**
   * Says of a worker whether somebody holds it; until the first word it counts as held. For a vendor that moves workers to save machines: idle
   * ones it may take, as long as their pool says so. A hint, of which the last counts: nobody waits for it, and a failure changes nothing. A
   * worker that is gone is no failure.
   */
  mark?(target: WorkerTarget, mark: WorkerMark, call: Call): Promise<void>

  /**
   * What running workers with these tags use, all of them in one stream: of each one a sample soon after it runs, or after the call began,
   * then one about every `everyMs` until it ends. May lose samples. Ends at the call's deadline. It costs the vendor no question for each sample.
   */
  stats?(query: StatsQuery, call: Call): AsyncIterable<WorkerStats>

  headroom?(call: Call): Promise<Headroom>
  quote?(shape: QuoteShape, call: Call): Promise<Quote>
}

/**
 * What a suspended worker still has. `memory`: its processes stand still, and go on. `disk`: they have ended, with what was not on disk; a
 * worker that holds then holds again, one that is its command cannot be suspended so. `nothing`: as `disk`, from a clean file system.
 */
export const suspendKeeps = ['memory', 'disk', 'nothing'] as const
export type SuspendKeeps = (typeof suspendKeeps)[number]

export interface WorkerMark {
  leased: boolean
}

export interface SuspendHow {
  keeps: SuspendKeeps
}

export interface ExecInput extends ExecSpec {
  /** Present when `stdin` is true and this is the first attach. */
  input?: AsyncIterable<Uint8Array>
}

export interface ExecResize extends TerminalSize {
  id: ExecId
}

export interface CopyInput {
  path: string
  tar: AsyncIterable<Uint8Array>
}

export interface ForwardInput {
  port: number
  input: AsyncIterable<Uint8Array>
}

/** Names of all methods of a worker provider. */
export type WorkerMethod = keyof WorkerProvider
