/** What the API shows: records of the store without sealed values, times as text of the machine's clock, structures as structures. */
import type { Resources, WorkerExit, WorkerProblem } from '@muster/core'
import type { LeaseView as EngineLease } from '../engine/api.ts'
import type {
  Artifact,
  ConditionRecord,
  JournalRow,
  LeaseRecord,
  LiveWorker,
  RunOutcome,
  RunRecord,
  RunState,
} from '../engine/model.ts'
import { aheadInSteps, toldDeadline, toldTimes, type TwoClocks } from '../engine/times.ts'
import type { WorkerUsage } from '../engine/used.ts'
import { traceIdOf } from '../observe/trace.ts'

export interface LeaseView {
  id: string
  pool: string
  state: 'queued' | 'assigned' | 'active' | 'ended'
  principal: string
  ttlMs: number
  tries: number
  requirements: Record<string, unknown>
  worker?: string
  run?: string
  requestedAt: string
  assignedAt?: string
  activeAt?: string
  expiresAt?: string
  queueDeadline?: string
  endedAt?: string
  end?: string
  endReason?: string
}

export interface RunView {
  id: string
  kind: 'run' | 'exec'
  pool: string
  state: RunState
  command: string[]
  stdin: boolean
  principal: string
  labels: Record<string, string>
  artifacts: Artifact[]
  cancelRequested: boolean
  lease?: string
  worker?: string
  outcome?: RunOutcome
  exit?: WorkerExit
  reason?: string
  logProblem?: string
  timeoutMs?: number
  trace?: string
  keepFailedMs?: number
  createdAt: string
  queuedAt?: string
  startedAt?: string
  endedAt?: string
  deadline?: string
}

export interface WorkerView {
  id: string
  pool: string
  provider: string
  phase: LiveWorker['phase']
  uses: number
  attempt: number
  cordoned: boolean
  cordonReason?: string
  keptUntil?: string
  keptFor?: string
  lease?: string
  part?: string
  observedPhase?: string
  ready?: string
  createdAt: string
  launchedAt?: string
  readyAt?: string
  expiresAt?: string
  observedAt?: string
  nextAttemptAt?: string
  endedAt?: string
  end?: string
  terminateReason?: string
  granted?: Resources
  usage?: UsageView
  exit?: WorkerExit
  problem?: WorkerProblem
  spec: Record<string, unknown>
}

export type UsageView = WorkerUsage

export interface ConditionView {
  scope: string
  name: string
  type: string
  message: string
  hint: string
  since: string
  updatedAt: string
}

export interface DecisionView {
  seq: number
  at: string
  rule: string
  decision: string
  pool?: string
  provider?: string
  worker?: string
  lease?: string
  run?: string
  inputs: Record<string, unknown>
  change: string
}

const SECOND_MS = 1000
/** Of the lifetime of a worker: whoever follows thousands of them is not told each second that it moved. */
const MINUTE_MS = 60_000

export function leaseView(row: LeaseRecord, clock: TwoClocks): LeaseView {
  const ahead = aheadInSteps(clock, SECOND_MS)
  const told = toldTimes(row, ['requested_at', 'assigned_at', 'active_at', 'ended_at'])
  const request = JSON.parse(row.request) as { requirements?: Record<string, unknown>; ofRun?: string }
  return {
    id: row.id,
    pool: row.pool,
    state: row.state as LeaseView['state'],
    principal: row.principal,
    ttlMs: row.ttl_ms,
    tries: row.tries,
    requirements: request.requirements ?? {},
    requestedAt: instant(told.requested_at ?? row.requested_at),
    ...defined({ worker: row.worker_id, run: request.ofRun, end: row.end, endReason: row.end_reason }),
    ...times({
      assignedAt: told.assigned_at,
      activeAt: told.active_at,
      expiresAt: toldDeadline(row, 'expires_at', ahead),
      queueDeadline: toldDeadline(row, 'queue_deadline', ahead),
      endedAt: told.ended_at,
    }),
  }
}

export function leaseAnswer({ lease, worker }: EngineLease, clock: TwoClocks): { lease: LeaseView; worker?: WorkerView } {
  return { lease: leaseView(lease, clock), ...(worker === undefined ? {} : { worker: workerView(worker, clock) }) }
}

export function runView(row: RunRecord, clock: TwoClocks): RunView {
  const ahead = aheadInSteps(clock, SECOND_MS)
  const told = toldTimes(row, ['created_at', 'queued_at', 'started_at', 'ended_at'])
  const request = JSON.parse(row.request) as {
    command?: string[]
    stdin?: boolean
    labels?: Record<string, string>
    timeoutMs?: number
    traceparent?: string
    keepFailedMs?: number
  }
  return {
    id: row.id,
    kind: row.kind as RunView['kind'],
    pool: row.pool,
    state: row.state as RunState,
    command: request.command ?? [],
    stdin: request.stdin ?? false,
    principal: row.principal,
    labels: request.labels ?? {},
    artifacts: JSON.parse(row.artifacts) as Artifact[],
    cancelRequested: row.cancel_requested !== 0,
    createdAt: instant(told.created_at ?? row.created_at),
    ...defined({
      lease: row.lease_id,
      worker: row.worker_id,
      outcome: row.outcome as RunOutcome | null,
      exit: parsed(row.exit) as WorkerExit | null,
      reason: row.reason,
      logProblem: row.log_problem,
      timeoutMs: request.timeoutMs,
      trace: traceIdOf(request.traceparent),
      keepFailedMs: request.keepFailedMs,
    }),
    ...times({
      queuedAt: told.queued_at,
      startedAt: told.started_at,
      endedAt: told.ended_at,
      deadline: toldDeadline(row, 'deadline', ahead),
    }),
  }
}

/** `usage`: of one that lives. */
export function workerView(row: LiveWorker, clock: TwoClocks, usage?: WorkerUsage): WorkerView {
  const ahead = aheadInSteps(clock, SECOND_MS)
  const told = toldTimes(row, ['created_at', 'launched_at', 'ready_at', 'ended_at'])
  const seen = toldTimes(row, ['created_at', 'observed_at'])
  return {
    id: row.id,
    pool: row.pool,
    provider: row.provider,
    phase: row.phase,
    uses: row.uses,
    attempt: row.attempt,
    cordoned: row.cordoned !== 0,
    spec: JSON.parse(row.spec) as Record<string, unknown>,
    createdAt: instant(told.created_at ?? row.created_at),
    ...defined({
      lease: row.lease_id,
      part: row.part,
      observedPhase: row.observed_phase,
      ready: row.observed_ready,
      cordonReason: row.cordon_reason,
      keptFor: row.kept_for,
      end: row.end,
      terminateReason: row.terminate_reason,
      granted: parsed(row.granted) as Resources | null,
      usage,
      exit: parsed(row.exit) as WorkerExit | null,
      problem: parsed(row.problem) as WorkerProblem | null,
    }),
    ...times({
      launchedAt: told.launched_at,
      readyAt: told.ready_at,
      expiresAt: toldDeadline(row, 'expires_at', aheadInSteps(clock, MINUTE_MS)),
      keptUntil: toldDeadline(row, 'kept_until', ahead),
      observedAt: seen.observed_at,
      nextAttemptAt: toldDeadline(row, 'next_attempt_at', ahead),
      endedAt: told.ended_at,
    }),
  }
}

export function conditionView({ since, updated_at, ...row }: ConditionRecord): ConditionView {
  return { ...row, since: instant(since), updatedAt: instant(updated_at) }
}

export function decisionView(row: JournalRow): DecisionView {
  return {
    seq: row.seq,
    at: instant(row.at),
    rule: row.rule,
    decision: row.decision,
    ...defined({ pool: row.pool, provider: row.provider, worker: row.worker_id, lease: row.lease_id, run: row.run_id }),
    inputs: JSON.parse(row.inputs) as Record<string, unknown>,
    change: row.change,
  }
}

export function instant(ms: number): string {
  return new Date(ms).toISOString()
}

function parsed(text: string | null): unknown {
  return text === null ? null : JSON.parse(text)
}

type Present<T> = { [K in keyof T]?: NonNullable<T[K]> }

/** Only what is there: a key that is absent says "none". */
export function defined<T extends Record<string, unknown>>(values: T): Present<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null)) as Present<T>
}

function times<K extends string>(values: Record<K, number | null>): { [P in K]?: string } {
  return Object.fromEntries(
    Object.entries<number | null>(values).flatMap(([key, value]) => (value === null ? [] : [[key, instant(value)]])),
  ) as { [P in K]?: string }
}
