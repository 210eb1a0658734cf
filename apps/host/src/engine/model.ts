/** The engine's own words: what is asked of it, and what it shows. Records are rows of the store. */
import type { CredentialUse, FileSpec, Mount, NetworkSpec, Readiness, Resources, SecuritySpec, ServiceSpec } from '@muster/core'
import type { Selectable } from 'kysely'
import type { ConditionTable, JournalTable, LeaseTable, RunTable, WishTable, WorkerTable } from '../store/schema.ts'
import type { JournalRule } from './journal-rules.ts'

export type WorkerRecord = Selectable<WorkerTable>
/** A worker as the engine's memory has it: everything but the sealed spec, which is read when a launch is repeated. */
export type LiveWorker = Omit<WorkerRecord, 'spec_sealed'>
export type LeaseRecord = Selectable<LeaseTable>
export type RunRecord = Selectable<RunTable>
export type JournalRow = Selectable<JournalTable>
export type ConditionRecord = Selectable<ConditionTable>
export type WishRecord = Selectable<WishTable>

/** The worker template of a pool, after the configuration was read; also what a request may override. */
export interface WorkerTemplate {
  image?: string
  profile?: string
  env?: Record<string, string>
  workdir?: string
  files?: FileSpec[]
  resources?: Resources
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  mounts?: Mount[]
  network?: NetworkSpec
  security?: SecuritySpec
  readiness?: Readiness
  services?: ServiceSpec[]
  labels?: Record<string, string>
  credentials?: CredentialUse[]
  settings?: unknown
}

export interface PoolConfig {
  name: string
  /** Providers in order; the next one by the kind of error. */
  placement: string[]
  /** How workers of this pool run; `auto`: `command` for a cold run, `hold` where exec is needed. */
  work: 'auto' | 'command' | 'hold' | 'agent'
  worker: WorkerTemplate
  /** Maximum age of a worker. */
  lifetimeMs: number
  graceMs: number
  /** How long a launch may take until ready. */
  startDeadlineMs: number
  scale: { min: number; max: number; warm: number; idleMs: number }
  /** Leases one worker serves one after the other; 1 = a fresh worker each. */
  uses: number
  /** Longest wait for a worker. */
  queueTimeoutMs: number
  /** A worker whose run failed is kept this long for a look; absent: not at all. */
  keepFailedMs?: number
  credentials: string[]
}

/** What a client asks a worker to be; anything absent comes from the pool. */
export type Requirements = Pick<WorkerTemplate, 'image' | 'profile' | 'env' | 'resources' | 'os' | 'arch' | 'labels'> & {
  /** The way of working the run needs; absent: the pool decides. */
  mode?: 'command' | 'hold' | 'agent'
}

export interface LeaseRequest {
  pool: string
  requirements: Requirements
  ttlMs: number
  principal: string
  /** Longest wait for a worker; absent: the pool's. */
  queueTimeoutMs?: number
  /** For `command` mode: the worker is this command. */
  command?: { argv: string[]; files?: FileSpec[]; workdir?: string }
  ofRun?: string
  /** W3C context of the call that asked; launch and terminate of its worker belong to this trace. */
  traceparent?: string
}

export interface RunRequest {
  /** A pool, or a lease the client already holds. */
  pool?: string
  lease?: string
  command: string[]
  env?: Record<string, string>
  files?: FileSpec[]
  workdir?: string
  /** In the worker, of commands by exec only; absent: the worker's own. */
  user?: string
  requirements: Requirements
  stdin: boolean
  /** From start of the command; absent: the lease's life. */
  timeoutMs?: number
  queueTimeoutMs?: number
  inputs: { name: string; path: string }[]
  outputs: { name: string; path: string; optional?: boolean }[]
  labels?: Record<string, string>
  /** When it fails its worker is kept this long for a look; absent: as its pool says, 0: not at all. */
  keepFailedMs?: number
  /** Ends the run when no client renews or reads for this long; absent: it runs on. */
  detachMs?: number
  /** W3C context of the call that asked for it; everything done for the run belongs to this trace. */
  traceparent?: string
}

/** waiting for inputs → queued → starting → running → collecting (outputs) → ended */
export const runStates = ['uploading', 'queued', 'starting', 'running', 'collecting', 'ended'] as const
export type RunState = (typeof runStates)[number]

/**
 * passed: exit 0, and every output that it needs is stored · failed: the command's own exit, or it left an output out · infrastructure: it
 * never ran, its worker was lost, or it passed and what it left could not be had · unknown: nobody can tell
 */
export const runOutcomes = ['passed', 'failed', 'timeout', 'cancelled', 'oom', 'infrastructure', 'unknown'] as const
export type RunOutcome = (typeof runOutcomes)[number]

export interface Artifact {
  name: string
  path: string
  direction: 'in' | 'out'
  state: 'awaited' | 'stored' | 'delivered' | 'missing' | 'dropped'
  sha256?: string
  bytes?: number
}

/** A refusal at the door: this can never be served as asked. */
export interface Refusal {
  code: string
  message: string
  hint: string
  /** The pool that comes nearest, and the field in which it differs. */
  nearest?: { pool: string; field: string; asked: string; has: string }
}

/** Of a lease, as it is told in the journal. */
export interface LeaseRefusal extends Refusal {
  code: 'cannot-be-served' | 'unknown-pool'
}

export interface JournalEntry {
  rule: JournalRule
  decision: string
  pool?: string
  provider?: string
  workerId?: string | undefined
  leaseId?: string | null | undefined
  runId?: string | undefined
  inputs: Record<string, unknown>
  change?: string
}
