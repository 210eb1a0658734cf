// Made from docs/reference/openapi.json by the test beside this folder. Not for editing.

export interface AgentDone {
  /** The run, as the order named it. */
  run: string
  /** The exit code. */
  code?: number
  /** The signal that ended it, instead of a code. */
  signal?: string
  /** It ran out of memory. */
  oomKilled?: boolean
  /** In words, where there is neither a code nor a signal. */
  reason?: string
}

export interface AgentNext {
  /** Absent: nothing yet, ask again. */
  order?: Order
}

export interface AgentSession {
  worker: string
  /** The bearer of all other calls, until the lease of the worker, or its run, is over. */
  session: string
  /** Call at least this often, also while the command works. Who is silent for eight of them is lost. */
  heartbeatMs: number
}

export interface AgentWish {
  /** nothing: go on · stop: end the command (SIGTERM) · kill: end it at once (SIGKILL). */
  wants: 'nothing' | 'stop' | 'kill'
  reason?: string
}

export interface Artifact {
  name: string
  path: string
  direction: 'in' | 'out'
  state: 'awaited' | 'stored' | 'delivered' | 'missing' | 'dropped'
  sha256?: string
  bytes?: number
}

export interface Condition {
  /** host · provider · pool */
  scope: string
  name: string
  type: string
  message: string
  hint: string
  since: string
  updatedAt: string
}

export interface ConfigChange {
  /** As written in the file. */
  path: string
  kind: 'added' | 'removed' | 'changed'
  /** As written; absent where it may be secret. */
  before?: string
  after?: string
  /** What happens when it is applied. */
  effect: string
  restart?: true
}

export interface Crash {
  id: string
  at: string
  provider: string
  plugin: {
    name: string
    version: string
  }
  reason: string
  /** Absent when it was never started. */
  exit?: {
    code: number | null
    signal: string | null
  }
  /** The rule of the protocol that it broke. */
  violation?: string
  /** Of this provider before, since the daemon was started. */
  restarts: number
}

export interface CrashBundle {
  id: string
  at: string
  provider: string
  plugin: {
    name: string
    version: string
  }
  reason: string
  /** Absent when it was never started. */
  exit?: {
    code: number | null
    signal: string | null
  }
  /** The rule of the protocol that it broke. */
  violation?: string
  /** Of this provider before, since the daemon was started. */
  restarts: number
  /** The last lines of its output, without secrets. */
  output: string[]
}

export interface CrashPage {
  items: Crash[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
}

export interface Decision {
  seq: number
  at: string
  /** Stable name of the rule that decided. */
  rule: string
  decision: string
  pool?: string
  provider?: string
  worker?: string
  lease?: string
  run?: string
  /** What the rule looked at. */
  inputs: Record<string, unknown>
  /** What would change the decision; empty when nothing would. */
  change: string
}

export interface DecisionPage {
  items: Decision[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
  /** The story begins in the middle: decisions are kept since then, and its first ones were dropped; absent: it is whole. */
  droppedBefore?: string
}

export interface DevPlugin {
  /** Of plugin, provider and pool. */
  name: string
  version: string
  /** The daemon takes it away then. */
  until: string
  /** A process of these files has taken over. False: it is what runs. */
  changed: boolean
}

export interface ExecRequest {
  /** Program and arguments; no shell is put around them. */
  command: string[]
  env?: Record<string, string>
  workdir?: string
  /** Will standard input be sent? Default false: the command reads end-of-file. */
  stdin?: boolean
  /** From the start of the command. Default: as long as its worker lives. */
  timeoutMs?: number
  /** Ends it when no client has followed it for this long. Default: it runs on. */
  detachMs?: number
  labels?: Record<string, string>
  user?: string
}

export interface Exit {
  /** Absent when a signal ended it, or nobody knows. */
  code?: number
  signal?: string
  oomKilled?: boolean
  /** The most memory it had, where that is known; a page cache may count. */
  memoryPeakBytes?: number
  reason: string
  at?: string
}

export interface Health {
  status: 'ok' | 'failing'
  /** Only for those who show a valid token. */
  parts?: ({
    /** store, term, disk (only while output of runs waits), `provider NAME`, `pool NAME`. */
    name: string
    /** pending: not known yet · degraded: others go on · failed: nothing goes without it. */
    state: 'ok' | 'pending' | 'degraded' | 'failed'
    reason?: string
    /** What can be done about it. */
    hint?: string
  })[]
}

export interface Lease {
  id: string
  pool: string
  /** assigned: a worker is being made or readied for it · active: the worker is ready. */
  state: 'queued' | 'assigned' | 'active' | 'ended'
  principal: string
  ttlMs: number
  /** Times it was moved to another placement. */
  tries: number
  /** Of env values only the size. */
  requirements: Record<string, unknown>
  worker?: string
  /** The run that owns it. */
  run?: string
  requestedAt: string
  assignedAt?: string
  activeAt?: string
  expiresAt?: string
  queueDeadline?: string
  endedAt?: string
  /** released · expired · lost · refused · cancelled · failed */
  end?: string
  endReason?: string
}

export interface LeaseAnswer {
  lease: Lease
  worker?: WorkerInfo
}

export interface LeasePage {
  items: Lease[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
}

export interface LeaseRequest {
  pool: string
  image?: string
  profile?: string
  env?: Record<string, string>
  resources?: {
    cpu?: number
    memoryBytes?: number
    diskBytes?: number
    pids?: number
    gpus?: number
  }
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  labels?: Record<string, string>
  /** The way of working it needs. Default: the pool decides. */
  mode?: 'command' | 'hold'
  /** It ends this long after it was got or renewed. Default 5 min. */
  ttlMs?: number
  /** Longest wait for a worker. Default: the pool's. */
  queueTimeoutMs?: number
}

export type LogLine = {
  stream: 'stdout' | 'stderr'
  next: number
  base64: string
} | {
  end: true
  next: number
  complete: boolean
  problem?: Problem
}

export interface LogState {
  /** Position after the last stored piece. */
  end: number
  stdoutBytes: number
  stderrBytes: number
  /** No more will come. */
  complete: boolean
}

export interface Order {
  run: string
  /** Program and arguments. */
  command: string[]
  env: Record<string, string>
  /** Relative to where the agent works. */
  workdir?: string
  files: {
    path: string
    base64: string
    mode?: number
  }[]
  /** Tars to fetch and unpack under their paths, before the command. */
  inputs: {
    name: string
    path: string
    sha256: string
    bytes: number
  }[]
  /** Paths to hand in as tars after the command, also when it failed. */
  outputs: {
    name: string
    path: string
    optional: boolean
  }[]
  /** Between the wish to stop and that to kill. */
  graceMs: number
  /** The host counts it, and tells when it is over. */
  timeoutMs?: number
}

export interface Orphan {
  id: string
  /** As its tag says. */
  pool: string
  state: 'quarantined' | 'removing'
  firstSeen: string
  /** It is left alone until then: `host.orphanGrace`. */
  dueAt: string
  /** That time is over: the next look at its provider may remove it. */
  due: boolean
}

export interface PluginAcknowledged {
  alias: string
  /** That showed it, and do no longer. */
  pools: string[]
}

export interface PluginUpgrade {
  alias: string
  /** The version that ran. */
  before: string
  after: string
  /** Nothing stands in the way. */
  go: boolean
  /** It has taken over. False with `rehearse`, and when it is what runs. */
  switched: boolean
  /** As far as it came. */
  steps: UpgradeStep[]
  /** Live workers that it does not account for, and that stand in its way. */
  lost: {
    provider: string
    worker: string
    why: string
  }[]
  /** Those for which the version before stays, with `keepOld`. */
  kept: {
    provider: string
    worker: string
    why: string
  }[]
  /** Why it cannot be loaded or started. */
  errors: {
    path: string
    message: string
  }[]
}

export interface Pool {
  name: string
  /** Providers in order. */
  placement: string[]
  work: 'auto' | 'command' | 'hold' | 'agent'
  image?: string
  profile?: string
  resources?: {
    cpu?: number
    memoryBytes?: number
    diskBytes?: number
    pids?: number
    gpus?: number
  }
  scale: {
    min: number
    max: number
    warm: number
    idleMs: number
  }
  /** Leases one worker serves, one after the other. */
  uses: number
  lifetimeMs: number
  graceMs: number
  startDeadlineMs: number
  queueTimeoutMs: number
  /** Live workers by phase; absent is 0. */
  workers: Record<string, number>
  /** Leases that have no worker yet. */
  queued: number
  /** Leases that have one. */
  leases: number
  /** Why the first of the queue, or else the stock, waits; empty when nothing waits. */
  waiting: string
  /** paused: nothing is launched or handed out · draining: it keeps no worker that nobody holds · leaving: the configuration names it no longer. */
  state: 'active' | 'paused' | 'draining' | 'leaving'
  /** Whose decision it is that it is not active. */
  wish?: Wish
  /** Live workers that are handed out to nobody: cordoned, or kept after a failed run. They count against the maximum. */
  aside: number
  /** A worker whose run failed is kept so long for a look. */
  keepFailedMs?: number
  /** What its live workers use now, by their last samples. */
  usage?: {
    /** Of so many it is known. */
    workers: number
    cpu: number
    memoryBytes: number
  }
}

export interface Problem {
  /** `urn:muster:problem:` and the code. */
  type: string
  title: string
  status: number
  code: 'invalid-request' | 'unauthorized' | 'forbidden' | 'wrong-host' | 'not-found' | 'not-acceptable' | 'too-slow' | 'conflict' | 'ended' | 'leased' | 'ticket-used' | 'gap' | 'no-stdin' | 'not-ready' | 'gone' | 'too-large' | 'unsupported-media' | 'bad-offset' | 'refused' | 'config-refused' | 'plugin-refused' | 'not-accounted' | 'unsupported' | 'digest-mismatch' | 'idempotency-mismatch' | 'rate-limited' | 'head-too-large' | 'internal' | 'provider-failed' | 'busy' | 'stopping' | 'store-unavailable' | 'disk-full'
  detail: string
  /** What can be done about it. */
  hint?: string
  errors?: {
    path: string
    message: string
  }[]
  /** With `refused`: the pool that comes nearest, and the field in which it differs. */
  nearest?: {
    pool: string
    field: string
    asked: string
    has: string
  }
  /** With `refused`: why. */
  reason?: string
  /** With `gap`: the offset to go on from. */
  at?: number
  /** With `internal`: what to look for in the daemon's log. */
  id?: string
}

export interface Provider {
  name: string
  alias: string
  plugin: {
    name: string
    version: string
    contract: string
  }
  /** How far its plugin is kept in: L1 a process of its own, L2 with permissions of Node (in another language: as a user of its own), L3 as a user of its own too (in another language: and without a network that it does not ask for). `muster plugins show` says what holds. */
  level: 'L1' | 'L2' | 'L3'
  state: 'starting' | 'ready' | 'degraded' | 'quarantined' | 'failed' | 'stopped'
  since: string
  reason?: string
  hint?: string
  /** What an operator should know, as `no isolation: same user`. */
  notes: string[]
  facts: Record<string, string>
  pid?: number
  restarts: number
  breaker: 'closed' | 'open' | 'half-open'
  inFlight: number
  /** The oldest open call whose answer does not last, as a log does. A launch may take minutes. */
  oldestCall?: {
    method: string
    since: string
  }
  /** Its process answers nothing since then, not even the host's own question; absent: it answers. */
  silentSince?: string
  /** Processes of before that end once their open calls have. */
  retiring: number
  crashBundle?: string
  /** No launch goes to it; absent: they do. */
  disabled?: Wish
  /** The version of its plugin before, which goes on for workers that this one does not account for. */
  kept?: {
    version: string
    state: 'starting' | 'ready' | 'degraded' | 'quarantined' | 'failed' | 'stopped'
    since: string
    reason?: string
    hint?: string
    pid?: number
    restarts: number
  }
  /** Workers there with our tag and without a record. */
  orphans: {
    /** Are there now: left alone for `host.orphanGrace`, or asked to end. */
    known: number
    /** Were removed by this daemon since its start. */
    removed: number
    /** The last of these. */
    removedAt?: string
  }
  capabilities: {
    work: ('command' | 'hold' | 'agent')[]
    fields: ('work.inputs' | 'work.outputs' | 'image' | 'profile' | 'env' | 'workdir' | 'files' | 'resources.cpu' | 'resources.memoryBytes' | 'resources.diskBytes' | 'resources.pids' | 'resources.gpus' | 'os' | 'arch' | 'mounts.bind' | 'mounts.volume' | 'mounts.tmpfs' | 'network.egress.none' | 'network.egress.restricted' | 'network.egress.full' | 'network.allow' | 'network.ports' | 'security.user' | 'security.readOnlyRoot' | 'security.noNewPrivileges' | 'security.privileged' | 'security.capabilitiesAdd' | 'security.capabilitiesDrop' | 'lifetimeMs' | 'readiness' | 'services' | 'labels' | 'credentials' | 'settings')[]
    exec?: {
      reattach: boolean
      stdin: boolean
      tty: boolean
      exitCode: boolean
    }
    copy?: {
      in: boolean
      out: boolean
      afterExit: boolean
    }
    logs?: {
      live: boolean
      delayMs: number
      split: boolean
    }
    watch: boolean
    forward: boolean
    stats: boolean
    headroom: boolean
    quote: boolean
    preparePool: boolean
    idempotency: {
      by: 'id' | 'token'
      windowMs?: number
    }
    visibility: {
      launchMs: number
      goneMs: number
    }
    exitRetentionMs: number | null
    exitCode: boolean
    maxLifetimeMs?: number
    lifetime: 'provider' | 'host'
    suspend?: {
      keeps: ('memory' | 'disk' | 'nothing')[]
    }
    mark?: boolean
    fresh: boolean
    services: boolean
    image: 'required' | 'optional' | 'none'
    fencing: 'vendor' | 'none'
    callback: boolean
    envBytes: number
    handles: number[]
  }
}

export interface Run {
  id: string
  /** exec: a command in somebody's worker, which it does not end. */
  kind: 'run' | 'exec'
  pool: string
  state: 'uploading' | 'queued' | 'starting' | 'running' | 'collecting' | 'ended'
  /** Program and arguments; no shell is put around them. */
  command: string[]
  stdin: boolean
  principal: string
  labels: Record<string, string>
  artifacts: Artifact[]
  cancelRequested: boolean
  lease?: string
  worker?: string
  /** infrastructure: it never ran, its worker was lost, or it passed and what it left could not be had · unknown: nobody can tell. */
  outcome?: 'passed' | 'failed' | 'timeout' | 'cancelled' | 'oom' | 'infrastructure' | 'unknown'
  exit?: Exit
  reason?: string
  /** Why the end of its log may not be there; absent: all that its command said is. */
  logProblem?: string
  timeoutMs?: number
  /** W3C trace id of all that is done for it. */
  trace?: string
  /** Its worker is kept so long for a look when it fails. */
  keepFailedMs?: number
  createdAt: string
  queuedAt?: string
  startedAt?: string
  endedAt?: string
  deadline?: string
}

export interface RunPage {
  items: Run[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
}

export interface RunRequest {
  pool?: string
  /** Instead of a pool: a lease you hold. */
  lease?: string
  image?: string
  profile?: string
  env?: Record<string, string>
  resources?: {
    cpu?: number
    memoryBytes?: number
    diskBytes?: number
    pids?: number
    gpus?: number
  }
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  labels?: Record<string, string>
  /** The way of working it needs. Default: the pool decides. */
  mode?: 'command' | 'hold'
  /** Program and arguments; no shell is put around them. */
  command: string[]
  workdir?: string
  /** Will standard input be sent? Default false: the command reads end-of-file. */
  stdin?: boolean
  /** From the start of the command. Default: as long as its worker lives. */
  timeoutMs?: number
  /** Ends it when no client has followed it for this long. Default: it runs on. */
  detachMs?: number
  files?: {
    path: string
    base64: string
    mode?: number
  }[]
  queueTimeoutMs?: number
  /** Tars that are uploaded next, each unpacked under its path. The run waits for all of them. */
  inputs?: {
    name: string
    path: string
  }[]
  /** Paths that are collected after the command, also when it failed. Without one that is not `optional` nothing has passed. */
  outputs?: {
    name: string
    path: string
    optional?: boolean
  }[]
  /** When the run fails its worker is kept so long, at most for its lifetime, and commands still go in. The worker holds then, whatever its pool prefers. 0: not at all. Default: the pool's. */
  keepFailedMs?: number
}

export interface StdinState {
  /** Bytes stored so far: send on from here. */
  offset: number
  ended: boolean
}

export interface StorageFacts {
  /** When it was looked at; at most a minute ago. */
  at: string
  /** Bytes of the disk of the data folder. */
  disk: {
    free: number
    total: number
  }
  store: {
    bytes: number
    /** Free inside its file; used again, or given back. */
    freeBytes: number
  }
  /** Of the store, by table. */
  rows: Record<string, number>
  /** Bytes, by folder of the data folder. */
  folders: Record<string, number>
}

export interface Token {
  id: string
  name: string
  role: 'viewer' | 'operator' | 'admin'
  createdAt: string
  expiresAt?: string
  /** To a minute. */
  lastUsedAt?: string
}

export interface TokenPage {
  items: Token[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
}

export interface UpgradeStep {
  /** verify: its bytes and the configuration · start: beside the one that runs · account: for all live workers. */
  step: 'verify' | 'start' | 'account' | 'switch'
  ok: boolean
  /** What was found. */
  fact: string
}

export interface Version {
  version: string
  api: 'v1'
  /** Of this deployment; it tags the workers. */
  owner: string
  store: Record<string, string | number>
  node: string
}

export interface Wish {
  /** The principal. */
  by: string
  reason?: string
  since: string
}

export interface WorkerInfo {
  id: string
  pool: string
  provider: string
  phase: 'queued' | 'launching' | 'starting' | 'idle' | 'leased' | 'suspended' | 'draining' | 'terminating' | 'terminated' | 'failed'
  uses: number
  attempt: number
  /** An operator has taken it out of hand-outs; it is left alone. */
  cordoned: boolean
  cordonReason?: string
  /** Its run failed, and it is kept for a look: commands still go in. */
  keptUntil?: string
  /** The run that failed in it. */
  keptFor?: string
  lease?: string
  /** The machine or region it lives in. */
  part?: string
  /** What the provider said last. */
  observedPhase?: string
  ready?: string
  createdAt: string
  launchedAt?: string
  readyAt?: string
  expiresAt?: string
  observedAt?: string
  nextAttemptAt?: string
  endedAt?: string
  /** gone · lost · refused · never-made · disowned: forgotten by an operator. */
  end?: string
  terminateReason?: string
  granted?: {
    cpu?: number
    memoryBytes?: number
    diskBytes?: number
    pids?: number
    gpus?: number
  }
  /** The last sample, of a worker that lives, where its provider tells. */
  usage?: WorkerUsage
  exit?: Exit
  problem?: {
    code: 'capacity' | 'quota' | 'throttled' | 'auth' | 'invalid-spec' | 'unsupported' | 'not-found' | 'conflict' | 'transient' | 'deadline' | 'cancelled' | 'internal'
    message: string
    final: boolean
  }
  /** As launched; of env values and file contents only the size. */
  spec: Record<string, unknown>
}

export interface WorkerPage {
  items: WorkerInfo[]
  /** Ask with `before` for the page after this one; absent: there is none. */
  next?: string
}

export interface WorkerUsage {
  at: string
  /** Since the start of the worker, as all that is summed. */
  cpuSeconds: number
  /** vCPUs, since the sample before. */
  cpu?: number
  /** Without what could be given back at once, as a page cache. */
  memoryBytes: number
  /** The most it had, as its provider counts; a page cache may count. */
  memoryPeakBytes?: number
  pids?: number
  network?: {
    receivedBytes: number
    sentBytes: number
  }
  disk?: {
    readBytes: number
    writtenBytes: number
  }
}

/** What each operation takes and answers; `binary` is bytes. */
export interface Operations {
  /** Says that it was seen that a plugin fell back to the version before. Ends the condition `fell-back` of its pools. What runs stays as it is. */
  acknowledgePlugin: {
    params: {
      /** Its alias. */
      name: string
    }
    query: undefined
    body: undefined
    answer: PluginAcknowledged
  }
  /** Says how the command ended. Answers when that is stored; the same again is fine, and the first counts. Outputs that were not handed in by then are missing. */
  agentDone: {
    params: undefined
    query: undefined
    body: AgentDone
    answer: {
      run: string
      /** What the run is by that, before its outputs were looked at. */
      outcome: 'passed' | 'failed' | 'timeout' | 'cancelled' | 'oom' | 'infrastructure' | 'unknown'
    }
  }
  /** Says that the agent is there, and asks what the host wants. Answers as soon as the host wants something else than the agent `knows`, or when the time is over. */
  agentHeartbeat: {
    params: undefined
    query: {
      /** Absent: it has none. */
      run?: string
      /** What it was told last. */
      knows?: 'nothing' | 'stop' | 'kill'
      /** Absent: at once. */
      timeoutMs?: number
    }
    body: undefined
    answer: AgentWish
  }
  /** An input of the run, a tar. The time of the command begins when all of them have been read. The header Muster-Sha256 has the digest of the tar. */
  agentInput: {
    params: {
      name: string
    }
    query: {
      /** The run, as the order named it. */
      run: string
    }
    body: undefined
    answer: 'binary'
  }
  /** Hands in a piece of what the command says. It may be repeated: what is stored is skipped, so that every byte lands once. */
  agentLogs: {
    params: undefined
    query: {
      /** The run, as the order named it. */
      run: string
      stream?: 'stdout' | 'stderr'
      /** Where the piece begins in the whole stream. */
      offset: number
    }
    body: Uint8Array
    answer: {
      /** Bytes stored so far: send on from here. */
      offset: number
    }
  }
  /** The run that this worker is for. At once, when it comes, or without one when the time is over: ask again. The same one until it is done. `ended`: none will come any more. With `Accept: application/x-sh` as a script for a shell, empty for nothing yet: calls of `muster_run` (run, grace and time-out in ms), `muster_input` (name, path, sha256, bytes), `muster_file` (path, mode, base64), `muster_env` (name, value), `muster_output` (name, path), `muster_workdir` (path) and, as the last one, `muster_command` (words). */
  agentNext: {
    params: undefined
    query: {
      timeoutMs?: number
    }
    body: undefined
    answer: AgentNext
  }
  /** Hands in an output, a tar. The last whole one counts. One entry tree, named by the last part of its path. */
  agentOutput: {
    params: {
      name: string
    }
    query: {
      /** The run, as the order named it. */
      run: string
    }
    body: Uint8Array
    answer: Artifact
  }
  /** Exchanges the ticket of a launch for a session. Once: with that its worker is ready. Whoever comes second is refused, whoever that is, and a decision of the worker says so. */
  agentReady: {
    params: undefined
    query: undefined
    body: undefined
    answer: AgentSession
  }
  /** Reads the configuration again, and applies what differs. All of it or nothing: every plugin that is new or not as it was is started and probed first. Workers and leases go on; pools and providers that are named no longer are drained. */
  applyConfig: {
    params: undefined
    query: undefined
    body: {
      /** Only says what would change. Default false. */
      dryRun?: boolean
    }
    answer: {
      /** False when nothing differs, and with `dryRun`. */
      applied: boolean
      changes: ConfigChange[]
    }
  }
  /** Attaches a plugin under development, with a provider and a pool of its own. Only where `host.development` allows it; no configuration and no lock has it. The same name again lets the files as they are now take over in another process, without a lost call. At its deadline the daemon takes it away: its provider goes once its last worker is gone. */
  attachDevPlugin: {
    params: {
      /** It begins with `dev-`. */
      name: string
    }
    query: undefined
    body: {
      /** Absolute path of its package, on the machine of the daemon. */
      folder: string
      /** Its deadline, at most 24 hours from now. */
      until: string
      /** As `providers.NAME` of muster.yaml, without `plugin`. */
      provider?: Record<string, unknown>
      /** As `pools.NAME` of muster.yaml, without `placement`. */
      pool?: Record<string, unknown>
    }
    answer: DevPlugin
  }
  /** Asks for the end of a run. Answers when the wish is stored, not when the run has ended. A run that has ended stays as it ended; of one whose command has ended the outputs are waited for no longer. */
  cancelRun: {
    params: {
      id: string
    }
    query: undefined
    body: {
      reason?: string
      /** Kill at once, without grace. */
      force?: boolean
    }
    answer: Run
  }
  /** Takes a worker out of hand-outs. An idle one is left alone until its lifetime is over, and counts for no stock. A leased one goes on; afterwards it ends as it would, or stays idle where its pool would have used it again. */
  cordonWorker: {
    params: {
      id: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: WorkerInfo
  }
  /** A backup, a tar. One consistent copy of the store while the daemon works. The last entry is its manifest: without that it is not whole. One at a time; it is cut off when nothing of it is read for five minutes. */
  createBackup: {
    params: undefined
    query: undefined
    body: {
      /** With the seal key: who has the backup can then read the env, files and inputs of runs that were live. */
      key?: boolean
      /** With the logs, outputs and waiting inputs of runs. */
      logs?: boolean
    }
    answer: 'binary'
  }
  /** Asks for a worker. Answers at once with a queued lease; wait for it to become active. */
  createLease: {
    params: undefined
    query: undefined
    body: LeaseRequest
    answer: Lease
  }
  /** Runs a command on a worker of a pool. Answers at once. A run with inputs waits until all of them are uploaded; then it is queued for a worker. */
  createRun: {
    params: undefined
    query: undefined
    body: RunRequest
    answer: Run
  }
  /** Makes a token. Its text is shown this once; the store has only its hash. Its name is what records and limits know it by: no two that are good have the same one. */
  createToken: {
    params: undefined
    query: undefined
    body: {
      name: string
      role: 'viewer' | 'operator' | 'admin'
      /** At most ten years. Default: until it is revoked. */
      ttlMs?: number
    }
    answer: {
      token: string
      details: Token
    }
  }
  /** Takes a plugin under development away. Its pool takes nothing new, and its provider goes once its last worker is gone. */
  detachDevPlugin: {
    params: {
      /** It begins with `dev-`. */
      name: string
    }
    query: undefined
    body: undefined
    answer: undefined
  }
  /** Lets no launch go to a provider. Pools use their next placement, and one without another waits, until it is enabled, also over restarts. Its workers and leases go on, and it is still asked about them and told to end them. */
  disableProvider: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: Provider
  }
  /** Empties a pool. It keeps no worker that nobody holds, until it is resumed, also over restarts; what is asked for is still served, and a cordoned worker is left alone. A pause becomes a drain. */
  drainPool: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: Pool
  }
  /** Lets launches go to a provider again */
  enableProvider: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: Provider
  }
  /** Runs a command in a worker that lives. Makes a run of kind exec: logs, standard input, wait and cancel are those of runs. The worker goes on after it. */
  execInWorker: {
    params: {
      id: string
    }
    query: undefined
    body: ExecRequest
    answer: Run
  }
  /** Gives up a provider that is named no longer. For one that is `leaving`, or cannot be opened again: its plugin ends, and the next daemon does not open it. It must have no worker with a record; orphans and what was prepared for pools stay at its vendor, and the answer says what is known of them. */
  forgetProvider: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason: string
    }
    answer: {
      /** Workers without a record that were known there. */
      orphans: number
      /** Pools for which something was prepared there, as a network. */
      prepared: string[]
    }
  }
  /** Closes a record that cannot be closed otherwise. For a worker whose end was asked for and cannot be confirmed, or whose provider has failed or is configured no longer; of others it says what to do first. Its lease ends, and the record closes as `disowned`. If the vendor still has it, it is an orphan, and is removed as one. */
  forgetWorker: {
    params: {
      id: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason: string
    }
    answer: WorkerInfo
  }
  /** A connection to a port inside a worker that lives. The body goes to the port, and the answer comes from there, both at once: it begins before the body ends. Cut off, it cannot be resumed, as any connection. */
  forwardPort: {
    params: {
      id: string
      port: number
    }
    query: undefined
    body: Uint8Array
    answer: 'binary'
  }
  /** A crash bundle. To give to the author of the plugin: secrets that the plugin was given, values of env, files and tickets are taken out. */
  getCrash: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: CrashBundle
  }
  /** A path of a worker that lives, as a tar. One entry tree, named by the last part of the path. What cannot be read to its end cuts the tar off; accepted as `application/vnd.muster.tar`, frames of a u32 BE length and so many bytes, it ends with a length of 0 and then JSON, `{ problem? }`, which says why it does not hold everything. */
  getFiles: {
    params: {
      id: string
    }
    query: {
      /** In the worker; a relative one is below its workspace. */
      path: string
    }
    body: undefined
    answer: 'binary'
  }
  /** A lease and its worker */
  getLease: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: LeaseAnswer
  }
  /** How much output is stored */
  getLogState: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: LogState
  }
  /** Downloads an output, a tar. One entry tree, named by the last part of its path in the worker. The header Muster-Sha256 has the digest of the tar. */
  getOutput: {
    params: {
      id: string
      name: string
    }
    query: undefined
    body: undefined
    answer: 'binary'
  }
  /** A pool */
  getPool: {
    params: {
      name: string
    }
    query: undefined
    body: undefined
    answer: Pool
  }
  /** A provider */
  getProvider: {
    params: {
      name: string
    }
    query: undefined
    body: undefined
    answer: Provider
  }
  /** A run */
  getRun: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: Run
  }
  /** How far standard input has come */
  getStdin: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: StdinState
  }
  /** A worker */
  getWorker: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: WorkerInfo
  }
  /** Is the daemon well?. It answers, holds the term, and its store takes writes; else 503. A full disk is not mended by a restart: for a check that restarts the daemon use `/healthz`, which only says that it answers. */
  health: {
    params: undefined
    query: undefined
    body: undefined
    answer: Health
  }
  /** Does it answer? */
  healthz: {
    params: undefined
    query: undefined
    body: undefined
    answer: {
      status: 'ok'
    }
  }
  /** Conditions that hold now, oldest first */
  listConditions: {
    params: undefined
    query: undefined
    body: undefined
    answer: {
      items: Condition[]
    }
  }
  /** Crash bundles of plugins, the newest first. Kept as `retention.crashes` and `retention.crashAge` say. */
  listCrashes: {
    params: undefined
    query: {
      provider?: string
      /** Most items; a page of large ones ends sooner, and has a `next`. */
      limit?: number
      /** `next` of the page before. */
      before?: string
    }
    body: undefined
    answer: CrashPage
  }
  /** Leases, newest first */
  listLeases: {
    params: undefined
    query: {
      /** Ended ones too. */
      ended?: 'true' | 'false'
      /** Most items; a page of large ones ends sooner, and has a `next`. */
      limit?: number
      /** `next` of the page before. */
      before?: string
      pool?: string
    }
    body: undefined
    answer: LeasePage
  }
  /** Workers of ours at a provider that no record knows. As its last list showed them, the longest known first. What a reclaim would remove are those that are due. */
  listOrphans: {
    params: {
      name: string
    }
    query: undefined
    body: undefined
    answer: {
      items: Orphan[]
    }
  }
  /** All pools */
  listPools: {
    params: undefined
    query: undefined
    body: undefined
    answer: {
      items: Pool[]
    }
  }
  /** All providers, and how each does */
  listProviders: {
    params: undefined
    query: undefined
    body: undefined
    answer: {
      items: Provider[]
    }
  }
  /** Runs, newest first */
  listRuns: {
    params: undefined
    query: {
      /** Ended ones too. */
      ended?: 'true' | 'false'
      /** Most items; a page of large ones ends sooner, and has a `next`. */
      limit?: number
      /** `next` of the page before. */
      before?: string
      pool?: string
      worker?: string
      state?: 'uploading' | 'queued' | 'starting' | 'running' | 'collecting' | 'ended'
      /** `name=value`; several: all of them. */
      label?: string | string[]
    }
    body: undefined
    answer: RunPage
  }
  /** All that are not revoked, newest first */
  listTokens: {
    params: undefined
    query: {
      /** Most items; a page of large ones ends sooner, and has a `next`. */
      limit?: number
      /** `next` of the page before. */
      before?: string
    }
    body: undefined
    answer: TokenPage
  }
  /** Workers, newest first */
  listWorkers: {
    params: undefined
    query: {
      /** Ended ones too. */
      ended?: 'true' | 'false'
      /** Most items; a page of large ones ends sooner, and has a `next`. */
      limit?: number
      /** `next` of the page before. */
      before?: string
      pool?: string
      provider?: string
    }
    body: undefined
    answer: WorkerPage
  }
  /** Metrics for Prometheus. Its text format 0.0.4. The metrics are described in metrics.md; `host.metrics` of the configuration opens them. */
  metrics: {
    params: undefined
    query: undefined
    body: undefined
    answer: 'binary'
  }
  /** A command at a terminal, in a worker that lives. Both ways at once, in frames of u8 kind, u32 BE length and so many bytes. To it: first 0 with JSON `{ command, columns, rows, stdin?, env?, workdir?, user? }`, then 1 with what is typed, 2 with JSON `{ columns, rows }` for another size, 3 at the end of the input (at most 64 KiB each, the first one 256 KiB). From it: 1 with what is shown, now and then 0 without a meaning, and at the end 2 with JSON `{ exit }` or `{ problem }`. The command ends with the connection, and after 12 hours; it is no run and has no log. */
  openTerminal: {
    params: {
      id: string
    }
    query: undefined
    body: Uint8Array
    answer: 'binary'
  }
  /** This document */
  openapi: {
    params: undefined
    query: undefined
    body: undefined
    answer: {
      openapi: '3.1.0'
    }
  }
  /** Lets a pool start nothing. Nothing is launched and nothing handed out, until it is resumed, also over restarts. New leases are taken and wait, leased workers go on, idle ones stay for as long as they may. A drain becomes a pause. */
  pausePool: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: Pool
  }
  /** Unpacks a tar in a worker that lives. The daemon takes in all of it first, at most 16 GiB: what is cut off before that changes nothing. After that it goes on whether or not anybody waits for its end. */
  putFiles: {
    params: {
      id: string
    }
    query: {
      /** In the worker; a relative one is below its workspace. */
      path: string
    }
    body: Uint8Array
    answer: undefined
  }
  /** Uploads an input, a tar. The last one missing starts the run. The same bytes again are fine. */
  putInput: {
    params: {
      id: string
      name: string
    }
    query: undefined
    body: Uint8Array
    answer: Artifact
  }
  /** Decisions as they are made. Server-sent events of the name `decision`, whose id is the number of the decision; NDJSON by Accept. Goes on after the last one seen, without a gap, by `Last-Event-ID` or `from`; without either, with the next one. The header Muster-Seq says after which number it begins: a later one than was asked for where retention has dropped what is between. */
  readEvents: {
    params: undefined
    query: {
      /** Those after this number. */
      from?: number
      pool?: string
      run?: string
    }
    body: undefined
    answer: 'binary'
  }
  /** A run's output from a position on. With `Accept: application/vnd.muster.log` (default) frames: u8 kind (1 stdout, 2 stderr, 3 nothing new, 0 the last frame), u64 big-endian position after this frame, u32 big-endian length, bytes. The last frame's bytes are JSON: `complete` is false when the run's output goes on, and `problem` says why it cannot be read further. With `Accept: application/x-ndjson` one JSON object a line. With `Accept: text/event-stream` server-sent events `stdout` and `stderr`, each of base64 with the position after it as id, and at last `end`: a browser goes on by itself after a cut, and closes at `end`. A stream that ends without its last frame was cut off: ask again with `from` set to the last position. */
  readLog: {
    params: {
      id: string
    }
    query: {
      /** 0, or a position that this log gave. */
      from?: number
      /** Stay until every byte has been given. */
      follow?: 'true' | 'false'
    }
    body: undefined
    answer: 'binary'
  }
  /** May work be sent to it?. The daemon is well, every provider of its start that answers was looked at once, and at least one pool has a provider that is ready; else 503. Providers and pools that are worse than they should be are among the parts and do not make it fail. */
  ready: {
    params: undefined
    query: undefined
    body: undefined
    answer: Health
  }
  /** May work be sent to it?. The daemon is well, every provider of its start that answers was looked at once, and at least one pool has a provider that is ready; else 503. Providers and pools that are worse than they should be are among the parts and do not make it fail. */
  readyz: {
    params: undefined
    query: undefined
    body: undefined
    answer: Health
  }
  /** Looks at a provider now. Starts its plugin at once where that is left alone after a fault, lists its workers instead of at the next interval, and answers when the pass has been applied. */
  reconcileProvider: {
    params: {
      name: string
    }
    query: {
      /** Removes more orphans in one pass than the bound allows. */
      reclaimOrphans?: 'true' | 'false'
    }
    body: undefined
    answer: {
      orphansReclaimed: number
    }
  }
  /** Ends a lease and lets its worker go. That of a run ends with its run: cancel that instead. */
  releaseLease: {
    params: {
      id: string
    }
    query: undefined
    body: {
      reason?: string
      /** The worker is never used again, though its pool re-uses workers. */
      discard?: boolean
      /** Kill at once. */
      force?: boolean
    }
    answer: Lease
  }
  /** Extends a lease from now on */
  renewLease: {
    params: {
      id: string
    }
    query: undefined
    body: {
      ttlMs?: number
    }
    answer: Lease
  }
  /** Ends the pause or the drain of a pool */
  resumePool: {
    params: {
      name: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: Pool
  }
  /** Makes a token worthless, at once */
  revokeToken: {
    params: {
      id: string
    }
    query: undefined
    body: undefined
    answer: undefined
  }
  /** What it takes of its disk */
  storage: {
    params: undefined
    query: undefined
    body: undefined
    answer: StorageFacts
  }
  /** Ends a worker. A worker that somebody holds is ended with `force` only. */
  terminateWorker: {
    params: {
      id: string
    }
    query: undefined
    body: {
      reason?: string
      /** Also a leased one, and kill at once. */
      force?: boolean
    }
    answer: WorkerInfo
  }
  /** Hands a worker out again. One that is no longer ready ends instead. */
  uncordonWorker: {
    params: {
      id: string
    }
    query: undefined
    body: {
      /** For whoever finds it so, and for the journal. */
      reason?: string
    }
    answer: WorkerInfo
  }
  /** Lets the version of a plugin that the lock holds take over. It is verified, started beside the one that runs, and must account for every live worker; then it takes all new calls at once, and the one before ends once its open calls have. Refused, nothing has changed. The same way leads back: the lock keeps the version before. */
  upgradePlugin: {
    params: {
      /** Its alias. */
      name: string
    }
    query: undefined
    body: {
      /** All but the switch; what stands in its way is an answer, not a problem. Default false. */
      rehearse?: boolean
      /** By `plugins.next-CANDIDATE.json` and its lock instead of `plugins.json`. Absent: by `plugins.json`. */
      candidate?: string
      /** Its process stays for workers that the other version does not account for, until the last of them is gone. The lock must hold it as the one before. Default false: such a worker stands in the way. */
      keepOld?: boolean
    }
    answer: PluginUpgrade
  }
  /** What runs */
  version: {
    params: undefined
    query: undefined
    body: undefined
    answer: Version
  }
  /** A lease, once it is as wanted. Answers when it is, when it has ended, or when the time is over; look at its state. */
  waitLease: {
    params: {
      id: string
    }
    query: {
      until?: 'assigned' | 'active' | 'ended'
      timeoutMs?: number
    }
    body: undefined
    answer: LeaseAnswer
  }
  /** A run, once it has come so far. Answers when it has, when it has ended, or when the time is over; look at its state. */
  waitRun: {
    params: {
      id: string
    }
    query: {
      until?: 'uploading' | 'queued' | 'starting' | 'running' | 'collecting' | 'ended'
      timeoutMs?: number
    }
    body: undefined
    answer: Run
  }
  /** Every decision about one thing, oldest first: the newest page of them */
  why: {
    params: {
      kind: 'worker' | 'lease' | 'run' | 'pool' | 'provider'
      id: string
    }
    query: {
      limit?: number
      /** `next` of the page before: those that were decided earlier. */
      before?: string
    }
    body: undefined
    answer: DecisionPage
  }
  /** Hands a piece to standard input. Answers once the piece is stored, and waits while the command reads too slowly. It may be repeated: what is stored is skipped. */
  writeStdin: {
    params: {
      id: string
    }
    query: {
      /** Where the piece begins in the whole input. */
      offset?: number
      /** Nothing follows. */
      end?: 'true' | 'false'
    }
    body: Uint8Array
    answer: StdinState
  }
}

export const operations: { readonly [K in keyof Operations]: { method: string; path: string } } = {
  acknowledgePlugin: { method: 'POST', path: '/v1/plugins/{name}/acknowledge' },
  agentDone: { method: 'POST', path: '/v1/self/done' },
  agentHeartbeat: { method: 'POST', path: '/v1/self/heartbeat' },
  agentInput: { method: 'GET', path: '/v1/self/inputs/{name}' },
  agentLogs: { method: 'POST', path: '/v1/self/logs' },
  agentNext: { method: 'GET', path: '/v1/self/next' },
  agentOutput: { method: 'PUT', path: '/v1/self/outputs/{name}' },
  agentReady: { method: 'POST', path: '/v1/self/ready' },
  applyConfig: { method: 'POST', path: '/v1/config/apply' },
  attachDevPlugin: { method: 'PUT', path: '/v1/dev/{name}' },
  cancelRun: { method: 'POST', path: '/v1/runs/{id}/cancel' },
  cordonWorker: { method: 'POST', path: '/v1/workers/{id}/cordon' },
  createBackup: { method: 'POST', path: '/v1/backup' },
  createLease: { method: 'POST', path: '/v1/leases' },
  createRun: { method: 'POST', path: '/v1/runs' },
  createToken: { method: 'POST', path: '/v1/tokens' },
  detachDevPlugin: { method: 'DELETE', path: '/v1/dev/{name}' },
  disableProvider: { method: 'POST', path: '/v1/providers/{name}/disable' },
  drainPool: { method: 'POST', path: '/v1/pools/{name}/drain' },
  enableProvider: { method: 'POST', path: '/v1/providers/{name}/enable' },
  execInWorker: { method: 'POST', path: '/v1/workers/{id}/exec' },
  forgetProvider: { method: 'POST', path: '/v1/providers/{name}/forget' },
  forgetWorker: { method: 'POST', path: '/v1/workers/{id}/forget' },
  forwardPort: { method: 'POST', path: '/v1/workers/{id}/forward/{port}' },
  getCrash: { method: 'GET', path: '/v1/crashes/{id}' },
  getFiles: { method: 'GET', path: '/v1/workers/{id}/files' },
  getLease: { method: 'GET', path: '/v1/leases/{id}' },
  getLogState: { method: 'GET', path: '/v1/runs/{id}/log' },
  getOutput: { method: 'GET', path: '/v1/runs/{id}/outputs/{name}' },
  getPool: { method: 'GET', path: '/v1/pools/{name}' },
  getProvider: { method: 'GET', path: '/v1/providers/{name}' },
  getRun: { method: 'GET', path: '/v1/runs/{id}' },
  getStdin: { method: 'GET', path: '/v1/runs/{id}/stdin' },
  getWorker: { method: 'GET', path: '/v1/workers/{id}' },
  health: { method: 'GET', path: '/v1/health' },
  healthz: { method: 'GET', path: '/healthz' },
  listConditions: { method: 'GET', path: '/v1/conditions' },
  listCrashes: { method: 'GET', path: '/v1/crashes' },
  listLeases: { method: 'GET', path: '/v1/leases' },
  listOrphans: { method: 'GET', path: '/v1/providers/{name}/orphans' },
  listPools: { method: 'GET', path: '/v1/pools' },
  listProviders: { method: 'GET', path: '/v1/providers' },
  listRuns: { method: 'GET', path: '/v1/runs' },
  listTokens: { method: 'GET', path: '/v1/tokens' },
  listWorkers: { method: 'GET', path: '/v1/workers' },
  metrics: { method: 'GET', path: '/metrics' },
  openTerminal: { method: 'POST', path: '/v1/workers/{id}/terminal' },
  openapi: { method: 'GET', path: '/v1/openapi.json' },
  pausePool: { method: 'POST', path: '/v1/pools/{name}/pause' },
  putFiles: { method: 'PUT', path: '/v1/workers/{id}/files' },
  putInput: { method: 'PUT', path: '/v1/runs/{id}/inputs/{name}' },
  readEvents: { method: 'GET', path: '/v1/events' },
  readLog: { method: 'GET', path: '/v1/runs/{id}/logs' },
  ready: { method: 'GET', path: '/v1/ready' },
  readyz: { method: 'GET', path: '/readyz' },
  reconcileProvider: { method: 'POST', path: '/v1/providers/{name}/reconcile' },
  releaseLease: { method: 'POST', path: '/v1/leases/{id}/release' },
  renewLease: { method: 'POST', path: '/v1/leases/{id}/renew' },
  resumePool: { method: 'POST', path: '/v1/pools/{name}/resume' },
  revokeToken: { method: 'DELETE', path: '/v1/tokens/{id}' },
  storage: { method: 'GET', path: '/v1/storage' },
  terminateWorker: { method: 'POST', path: '/v1/workers/{id}/terminate' },
  uncordonWorker: { method: 'POST', path: '/v1/workers/{id}/uncordon' },
  upgradePlugin: { method: 'POST', path: '/v1/plugins/{name}/upgrade' },
  version: { method: 'GET', path: '/v1/version' },
  waitLease: { method: 'GET', path: '/v1/leases/{id}/wait' },
  waitRun: { method: 'GET', path: '/v1/runs/{id}/wait' },
  why: { method: 'GET', path: '/v1/why/{kind}/{id}' },
  writeStdin: { method: 'POST', path: '/v1/runs/{id}/stdin' },
}
