/** What happens while a pipeline runs, for whoever shows or stores it. */
import type { Run } from './muster.ts'

/** `skipped`: never started, since what it needs did not pass or the pipeline had ended. */
export type JobOutcome = NonNullable<Run['outcome']> | 'skipped'

interface Digest {
  /** Hex, of the tar. */
  sha256: string
  bytes: number
}

/** `at` is milliseconds since 1970 on this machine. */
export type PipelineEvent = { at: number } & (
  | { type: 'begin'; name: string; file: string; pools: string[]; jobs: { id: string; needs: string[] }[] }
  | ({ type: 'workspace'; files: number; ms: number } & Digest)
  /** A run was made for the job. `attempt` counts from 1. */
  | { type: 'job-begin'; job: string; run: string; pool: string; attempt: number }
  /** The run has come so far; `worker` once it has one. */
  | { type: 'job-state'; job: string; state: Run['state']; worker?: string; provider?: string }
  /** It has had no worker for a while: why. Again when the reason changes. */
  | { type: 'job-waits'; job: string; reason: string }
  /** An input has been taken over by Muster with this digest. */
  | ({ type: 'input'; job: string; artifact: string; from?: string } & Digest)
  /** Bytes of the command's output, in order and each once, cut anywhere. */
  | { type: 'log'; job: string; stream: 'stdout' | 'stderr'; data: Uint8Array }
  /** An output has arrived here with the digest that Muster announced. */
  | ({ type: 'output'; job: string; artifact: string; file?: string } & Digest)
  /** The worker failed, not the command: it is run again. */
  | { type: 'retry'; job: string; reason: string; attempt: number }
  | { type: 'job-end'; job: string; result: JobResult }
  | { type: 'cancel'; reason: string; force: boolean }
  | { type: 'end'; result: PipelineResult }
)

export interface JobResult {
  job: string
  outcome: JobOutcome
  /** Why, when it did not pass. */
  reason?: string
  run?: string
  worker?: string
  provider?: string
  pool?: string
  attempts: number
  /** From the wish for a worker to its assignment to the run. */
  queueMs?: number
  /** From the decision to launch until the worker was ready; for a warm worker that lies before the run. */
  launchMs?: number
  /** The worker was ready before the run asked for it. */
  warm?: boolean
  /** Of the command. */
  runMs?: number
  exitCode?: number
  signal?: string
  /** The last lines of its output, when it did not pass. */
  tail: string[]
}

export interface PipelineResult {
  name: string
  outcome: 'passed' | 'failed' | 'infrastructure' | 'cancelled'
  /** 0 passed · 1 a job failed · 125 infrastructure · 130 cancelled. */
  exitCode: 0 | 1 | 125 | 130
  ms: number
  jobs: JobResult[]
  /** Workers of these runs that are not gone. */
  left: { worker: string; provider: string; phase: string; job: string }[]
  /** Set when nobody could say what is left. */
  leftUnknown?: string
}
