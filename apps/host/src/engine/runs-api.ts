/**
 * The run driver, as the API and the command line see it. Everything that changes something resolves when it is durable.
 *
 * Errors are RunError (below), EngineError `refused`, `busy` and `stopping`, and StoreError; nothing else is thrown on purpose.
 */
import type { AgentWork } from './agent-api.ts'
import type { Also, JournalPage } from './api.ts'
import type { Artifact, JournalRow, RunRecord, RunRequest, RunState } from './model.ts'

export interface Runs {
  /**
   * Makes a run: `uploading` while inputs are awaited, else queued for a worker. `also` writes in the same transaction (idempotency keys).
   * Errors: EngineError `refused` with the refusal when no pool could ever serve it; RunError `not-found` (its lease), `ended` (its lease).
   */
  create(request: RunRequest, context: { principal: string }, also?: Also<RunRecord>): Promise<RunRecord>
  /**
   * A run of kind `exec`: one command in a worker that somebody holds, and that it does not end. Errors: RunError `not-found` (no live
   * worker), `not-ready` (it takes no commands now), `unsupported` (its provider has no exec).
   */
  exec(workerId: string, request: ExecRequest, options: { principal: string; also?: Also<RunRecord> }): Promise<RunRecord>
  /** A run that has not ended. */
  get(id: string): RunRecord | undefined
  /** Any run that is still kept. */
  find(id: string): Promise<RunRecord | undefined>
  /** Newest first. */
  list(query: RunQuery): Promise<RunRecord[]>
  /**
   * Asks for its end; what is stored first wins, so a run that has ended stays as it ended, and one whose command has ended as well: only
   * its outputs are waited for no longer, and it is `cancelled` when it passed and one that it needs is not there. Idempotent; a second
   * call with `force` kills at once instead of after the grace. Resolves when the wish is durable, not when the run has ended. Error:
   * `not-found`.
   */
  cancel(id: string, how: CancelHow): Promise<RunRecord>
  /**
   * Resolves with the first record for which `until` is true: now, or after a change. An ended run is always the last record, also when
   * `until` is false for it. Rejects with the signal's reason, or `not-found`.
   */
  wait(id: string, until: (run: RunRecord) => boolean, signal?: AbortSignal): Promise<RunRecord>
  /**
   * A client is there until the returned function is called: holds off the end by `detachMs`. A log that is followed, an upload and
   * standard input count by themselves.
   */
  attach(id: string): () => void
  /**
   * Takes a tar for an input the request named, sealed on disk. Reads as fast as it writes, no faster. The last one missing starts the
   * run. The same bytes again are fine. Errors: `not-found` (run, or no input of that name), `ended`, `conflict` (stored already, with
   * other bytes), `digest` (not the bytes that were announced; nothing is kept), `too-large`; what `tar` throws, and nothing is kept.
   */
  putInput(id: string, upload: Upload): Promise<Artifact>
  /**
   * An output that has been collected, as its tar. Reads from disk only as the reader takes. Errors: `not-found` (run, or no output of
   * that name, or the command left nothing at its path), `not-ready` (not collected yet), `gone` (dropped by retention).
   */
  openOutput(id: string, name: string, signal?: AbortSignal): Promise<{ artifact: Artifact; tar: AsyncIterable<Uint8Array> }>
  /**
   * Hands bytes to the command's standard input. Resolves once they are on disk here, so that they reach the command whoever is killed
   * meanwhile; waits while the command reads too slowly (bounded spool). Bytes before what is stored are skipped, so a call may be
   * repeated. Errors: `not-found`, `no-stdin` (the request has none), `ended` (nobody will read it any more), `gap` (`offset` is beyond
   * what is stored: `at` says where to go on).
   */
  writeStdin(id: string, piece: StdinPiece): Promise<StdinState>
  /** How far standard input has come: where a client that was cut off goes on. Errors as above. */
  stdinState(id: string): Promise<StdinState>
  /**
   * The run's output from a position on, in the order it was stored. Errors: `not-found`, `gone` (dropped by retention), `bad-offset`
   * (no position of this log). Ends at the end of what is there; with `follow` at the log's end (every byte the command wrote has been
   * given) or at the signal. Reads from disk only as the reader takes: a slow reader costs nothing.
   */
  readLog(id: string, options: LogQuery): AsyncIterable<LogPiece>
  /** How much output is stored. `complete`: no more will come. Errors: `not-found`, `gone`. */
  logState(id: string): Promise<LogState>
  /** Every decision about a run, its leases and its workers, oldest first: the newest of the page. */
  why(id: string, page?: JournalPage): Promise<JournalRow[]>
  /** As that of the journal, for all that {@link why} tells of. */
  whyDroppedBefore(id: string): Promise<number | undefined>
  /** What the agents in workers ask for. */
  readonly agent: AgentWork
  /** Takes no new runs, lets go of every open stream, and leaves every command as it is. */
  stop(): Promise<void>
}

export type ExecRequest = Pick<
  RunRequest,
  'command' | 'env' | 'workdir' | 'user' | 'stdin' | 'timeoutMs' | 'detachMs' | 'labels' | 'traceparent'
>

export interface RunQuery {
  pool?: string
  worker?: string
  state?: RunState
  /** Only runs that carry all of these. */
  labels?: Record<string, string>
  /** Ended ones too; default false. */
  ended?: boolean
  /** At most 500; default 100. */
  limit?: number
  /** Those made before this id. */
  before?: string
}

export interface CancelHow {
  principal: string
  reason: string
  /** Kill at once. */
  force?: boolean
}

export interface Upload {
  name: string
  tar: AsyncIterable<Uint8Array>
  /** Hex; when given, the bytes must have it. */
  sha256?: string
}

export interface StdinPiece {
  /** Where `data` begins in the whole input. */
  offset: number
  /** At most 1 MiB. */
  data: Uint8Array
  /** Nothing follows: the command reads end-of-file after it. */
  end: boolean
  signal?: AbortSignal
}

export interface StdinState {
  /** Bytes stored so far. */
  offset: number
  /** Its end has been given. */
  ended: boolean
}

export interface LogQuery {
  /** 0, or `next` of a piece of this log. */
  from: number
  follow: boolean
  signal?: AbortSignal
}

export interface LogPiece {
  stream: 'stdout' | 'stderr'
  /** At most 64 KiB, not empty. */
  data: Uint8Array
  /** Position after this piece. */
  next: number
}

export interface LogState {
  /** Position after the last stored piece. */
  end: number
  stdoutBytes: number
  stderrBytes: number
  complete: boolean
}

export const runErrorCodes = [
  'not-found',
  'not-ready',
  'unsupported',
  'ended',
  'conflict',
  'digest',
  'too-large',
  'gone',
  'no-stdin',
  'gap',
  'bad-offset',
] as const
export type RunErrorCode = (typeof runErrorCodes)[number]

export class RunError extends Error {
  override readonly name = 'RunError'
  readonly code: RunErrorCode
  /** With `gap`: the offset at which to go on. */
  readonly at: number | undefined

  constructor(code: RunErrorCode, message: string, at?: number) {
    super(message)
    this.code = code
    this.at = at
  }
}

/** Of a worker whose provider this daemon does not know, and may know again. */
export function missingProvider({ id, provider }: { id: string; provider: string }): RunError {
  return new RunError(
    'not-ready',
    `worker ${id} is at '${provider}', which the configuration names no longer: see muster providers`,
  )
}
