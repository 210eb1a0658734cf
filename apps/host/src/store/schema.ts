/**
 * The tables, as kysely sees them; the migrations make them. The same on SQLite and PostgreSQL: times are integer milliseconds since 1970,
 * booleans 0 or 1, structures JSON text, sealed values base64 text.
 */
import type { Generated } from 'kysely'
import type { RecordPhase } from '@muster/core'

export interface MetaTable {
  key: string
  value: string
}

/** One row: who acts. A host sends mutating calls only while its term has more than a margin left. */
export interface TermTable {
  id: number
  holder: string
  epoch: number
  expires_at: number
}

export interface WorkerTable {
  id: string
  pool: string
  provider: string
  phase: RecordPhase
  /** Grows with every change; every update is a compare-and-set on it. */
  rev: number
  /** JSON of the LaunchSpec without env values and file contents. */
  spec: string
  /** The whole frozen LaunchSpec, sealed; null once the worker is final. */
  spec_sealed: string | null
  /** Digest of what makes two workers alike; warm ones are matched by it. */
  shape: string
  handle: string | null
  granted: string | null
  /** The lease it was made for (cold), or that holds it; null when idle. */
  lease_id: string | null
  epoch: number
  /** Launch or terminate attempts so far, and when the next is due. */
  attempt: number
  next_attempt_at: number | null
  created_at: number
  launched_at: number | null
  ready_at: number | null
  /** Since when nobody holds it; null unless idle. */
  idle_since: number | null
  /** Maximum age: terminated at this instant unless leased longer by a deadline of its own. */
  expires_at: number | null
  terminate_reason: string | null
  terminate_force: number
  grace_ms: number
  ended_at: number | null
  /** How it ended: gone · lost · refused (the provider made nothing) · never-made (the provider was not called) · disowned. */
  end: string | null
  /** Last observation, as JSON parts. */
  observed_phase: string | null
  observed_ready: string | null
  observed_at: number | null
  part: string | null
  exit: string | null
  /** When the exit was stored. */
  exited_at: number | null
  problem: string | null
  uses: number
  /** 1 while a run has not confirmed the end of its log: the worker is kept until it has, or until the deadline for that. */
  log_hold: number
  /** 1: taken out of hand-outs by an operator, and left alone. */
  cordoned: number
  /** Who cordoned it, and why. */
  cordon_reason: string | null
  /** Kept for a look after its run failed: it ends then. Null: not kept. */
  kept_until: number | null
  /** The run that failed in it. */
  kept_for: string | null
  /** Digest of the ticket that its agent gets with the launch; null: it runs no agent, or has ended. */
  ticket_hash: string | null
  /** Digest of the session that the ticket was exchanged for. */
  session_hash: string | null
  /** When it was exchanged: the agent is there. */
  agent_at: number | null
  /** The version of its provider's plugin that it belongs to: that launched it, or took it over. Null: one of before this was noted. */
  plugin_version: string | null
  /** The package of that version. Null: one of before this was noted, or of before versions were. */
  plugin_package: string | null
  /** Digest of what its provider was configured to be when it was launched, or when it was last known to be there. Null: one of before this was noted. */
  provider_config: string | null
  /** JSON: by how many ms the machine's clock was ahead of the steady one when a time was written, by column. Null: the two agreed. */
  ahead: string | null
}

/** An older version of a provider's plugin that goes on for workers which the one that runs does not account for. */
export interface KeptPluginTable {
  provider: string
  version: string
  /** Digest of its files: the lock must still hold just these. */
  tree: string
  /** Name of its folder in the content store. */
  content: string
  since: number
}

export interface LeaseTable {
  id: string
  pool: string
  /** queued · assigned (a worker is being made or readied for it) · active · ended */
  state: string
  rev: number
  /** JSON of the LeaseRequest without env values and file contents; the whole one is sealed, and dropped when the lease ends. */
  request: string
  request_sealed: string | null
  /** Digest of what the worker must be, as in workers. */
  shape: string
  worker_id: string | null
  principal: string
  /** 1 when a run owns it and ends it. */
  of_run: number
  requested_at: number
  assigned_at: number | null
  active_at: number | null
  ttl_ms: number
  expires_at: number | null
  /** Waiting longer than this fails the lease. */
  queue_deadline: number | null
  ended_at: number | null
  /** released · expired · lost · refused · cancelled · failed */
  end: string | null
  end_reason: string | null
  /** Times it was moved to another placement. */
  tries: number
  /** As that of workers. */
  ahead: string | null
}

export interface RunTable {
  id: string
  /** run · exec (a command in somebody's worker, which it does not end) */
  kind: string
  pool: string
  lease_id: string | null
  worker_id: string | null
  state: string
  rev: number
  /** JSON without env values; the sealed one is dropped when the run ends. */
  request: string
  request_sealed: string | null
  principal: string
  exec_id: string | null
  created_at: number
  queued_at: number | null
  started_at: number | null
  ended_at: number | null
  deadline: number | null
  cancel_requested: number
  outcome: string | null
  exit: string | null
  reason: string | null
  /** Why the end of its log may not be there; null: all that its command said is stored. */
  log_problem: string | null
  /** Where its log ended when all that its command said was stored; null: it never came to that, or a host of before it was known ended it. */
  log_end: number | null
  /** JSON list of artifacts: name, path, direction, sha256, bytes, state. */
  artifacts: string
  /** As that of workers. */
  ahead: string | null
}

export interface JournalTable {
  seq: Generated<number>
  /** By the machine's clock, which may have been set: rows are in the order of `seq`. */
  at: number
  /** Stable name of the rule that decided. */
  rule: string
  /** The decision in a few words. */
  decision: string
  pool: string | null
  provider: string | null
  worker_id: string | null
  lease_id: string | null
  run_id: string | null
  /** JSON of what the rule looked at. */
  inputs: string
  /** What would change the decision; empty when nothing would. */
  change: string
}

export interface TokenTable {
  id: string
  name: string
  role: string
  hash: string
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  last_used_at: number | null
}

/** A lasting state worth an operator's eye, on a pool, a provider or the host. */
export interface ConditionTable {
  /** host · provider · pool */
  scope: string
  name: string
  type: string
  message: string
  hint: string
  since: number
  updated_at: number
}

/** What an operator wishes of a pool or a provider; no row: that it does its work. */
export interface WishTable {
  /** pool · provider */
  scope: string
  /** Also one that the configuration does not name now. */
  name: string
  /** paused · draining (pools) · disabled (providers) */
  wish: string
  /** Empty when none was given. */
  reason: string
  principal: string
  at: number
}

/** Vendor objects with our owner tag and no record. */
export interface OrphanTable {
  provider: string
  worker_id: string
  handle: string | null
  tags: string
  first_seen: number
  /** quarantined · removing · gone · adopted */
  state: string
  updated_at: number
}

export interface IdempotencyTable {
  key: string
  principal: string
  request_digest: string
  status: number
  response: string
  created_at: number
}

/** A version of a plugin that could not start, and the one before that runs instead, as long as the lock holds both so. */
export interface FallbackTable {
  alias: string
  tree: string
  before_tree: string
  since: number
}

export interface Tables {
  meta: MetaTable
  term: TermTable
  workers: WorkerTable
  leases: LeaseTable
  runs: RunTable
  journal: JournalTable
  tokens: TokenTable
  conditions: ConditionTable
  orphans: OrphanTable
  wishes: WishTable
  idempotency: IdempotencyTable
  kept_plugins: KeptPluginTable
  plugin_fallbacks: FallbackTable
}
