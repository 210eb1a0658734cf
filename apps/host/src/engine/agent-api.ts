/**
 * What the agent in a worker asks of its run. Every call names the worker, proved by its session, and most the run: another worker's, or
 * one that is unknown, is `not-found`; one that is over is `ended`; one whose driver is not there at this moment, as right after a
 * restart, is `not-ready`. Errors are RunError, EngineError and StoreError.
 */
import type { FileSpec, OutputStream, WorkerExit } from '@muster/core'
import type { Artifact, RunRecord } from './model.ts'

export interface AgentWork {
  /**
   * The run of this worker: at once, or as soon as there is one; undefined when the signal aborts before. The same one each time until
   * it is done: an answer that was lost is asked for again. Error: `ended` when none will come any more.
   */
  next(workerId: string, signal: AbortSignal): Promise<Order | undefined>
  /** What the host wants of the command: as soon as that is not what the agent `knows`, or the signal aborts. */
  wants(at: AtRun, known: Wants, signal: AbortSignal): Promise<{ wants: Wants; reason?: string }>
  /** An input as its tar. Once the last of them is read to its end the command counts as started. */
  openInput(at: AtRun, name: string): Promise<{ artifact: Artifact; tar: AsyncIterable<Uint8Array> }>
  /** Takes a tar for an output the request named; the last whole one counts. Errors: `digest`, `too-large`. */
  putOutput(at: AtRun, upload: { name: string; tar: AsyncIterable<Uint8Array>; sha256?: string }): Promise<Artifact>
  /**
   * A piece of the command's output. Bytes before what is stored are skipped, so a call may be repeated. Resolves with where to go on.
   * Error: `gap`, when `offset` is beyond what is stored.
   */
  appendLog(at: AtRun, piece: { stream: OutputStream; offset: number; data: Uint8Array }): Promise<number>
  /** How the command ended; outputs that are not there by now are missing. Resolves when that is durable. Idempotent: the first counts. */
  done(at: AtRun, exit: WorkerExit, signal: AbortSignal): Promise<RunRecord>
}

export interface AtRun {
  workerId: string
  runId: string
}

/** nothing: it goes on · stop: it is asked to end (SIGTERM) · kill: it is killed at once (SIGKILL) */
export const wantsOf = ['nothing', 'stop', 'kill'] as const
export type Wants = (typeof wantsOf)[number]

/** All that an agent needs to run a command. */
export interface Order {
  run: string
  command: string[]
  env: Record<string, string>
  /** Relative to where the agent works; absent: there. */
  workdir?: string
  files: FileSpec[]
  inputs: { name: string; path: string; sha256: string; bytes: number }[]
  outputs: { name: string; path: string; optional: boolean }[]
  /** Between the wish to stop and that to kill. */
  graceMs: number
  timeoutMs?: number
}
