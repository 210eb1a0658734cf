/** The client of a daemon: every operation of its API as a function, streams as async iterables. */
import { randomUUID } from 'node:crypto'
import { type CallInput, type Caller, type ConnectOptions, createCaller, type OperationName } from './call.ts'
import { type EventOptions, readEvents } from './events.ts'
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
import { type LogChunk, type LogReadOptions, readLog } from './log-stream.ts'
import { reachOf } from './reach.ts'
import { type Terminal, terminalOf, type TerminalRequest } from './terminal.ts'
import { sendStdin } from './stdin.ts'
import { getOutput, type Output, putInput, saveOutput, type Saving } from './transfer.ts'
import { type Address, openTransport } from './transport.ts'

export interface Waiting {
  signal?: AbortSignal
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
  /** Decisions as they are made. Never ends by itself. */
  events(options?: EventOptions): AsyncIterable<Decision>
  /** Lets the daemon read its configuration again and apply what differs; `config-refused` with all problems when anything is wrong. */
  apply(how?: Body<'applyConfig'>): Promise<{ applied: boolean; changes: ConfigChange[] }>
  readonly plugins: {
    /** Lets the version that the lock holds take over; `plugin-refused` or `not-accounted` when it cannot, and nothing has changed. */
    upgrade(alias: string, how?: Body<'upgradePlugin'>): Promise<PluginUpgrade>
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

/** One long poll. The server's most is 60 s. */
const POLL_MS = 30_000
/** As many as a reader takes in at once, and the server's most for one page. */
const WHY_DEFAULT = 200
const WHY_PAGE = 500

/** The store is copied before the first byte: some seconds a GB, more on a slow disk. */
const COPY_MS = 600_000

/** Connects to nothing yet: the first call does. */
export function connect(address: Address, options: ConnectOptions = {}): MusterClient {
  const transport = openTransport(address)
  const caller = createCaller(transport, options)
  const { call } = caller
  const items = async <T>(answer: Promise<{ items: T[] }>): Promise<T[]> => (await answer).items
  return {
    address: transport.name,
    close: transport.close,
    version: (given) => call('version', picked(given)),
    conditions: () => items(call('listConditions', {})),
    why: async (kind, id, limit = WHY_DEFAULT) => {
      let all: Decision[] = []
      for (let before: string | undefined; ;) {
        const query = { limit: Math.min(limit - all.length, WHY_PAGE), ...(before === undefined ? {} : { before }) }
        const { items: some, next } = await call('why', { params: { kind, id }, query })
        all = [...some, ...all]
        if (next === undefined || all.length >= limit) return all
        before = next
      }
    },
    events: (given) => readEvents(caller, given),
    apply: (given = {}) => call('applyConfig', { body: given }),
    plugins: {
      upgrade: (name, how = {}) => call('upgradePlugin', { params: { name }, body: how }),
      acknowledge: (name) => call('acknowledgePlugin', { params: { name } }),
    },
    dev: {
      attach: (name, asked) => call('attachDevPlugin', { params: { name }, body: asked }),
      detach: (name) => call('detachDevPlugin', { params: { name } }),
    },
    pools: {
      list: () => items(call('listPools', {})),
      get: (name) => call('getPool', { params: { name } }),
      pause: (name, how = {}) => call('pausePool', { params: { name }, body: how }),
      drain: (name, how = {}) => call('drainPool', { params: { name }, body: how }),
      resume: (name, how = {}) => call('resumePool', { params: { name }, body: how }),
    },
    providers: {
      list: () => items(call('listProviders', {})),
      get: (name) => call('getProvider', { params: { name } }),
      disable: (name, how = {}) => call('disableProvider', { params: { name }, body: how }),
      enable: (name, how = {}) => call('enableProvider', { params: { name }, body: how }),
      crashes: (query = {}) => call('listCrashes', { query }),
      crash: (id) => call('getCrash', { params: { id } }),
      orphans: (name) => items(call('listOrphans', { params: { name } })),
      forget: (name, how) => call('forgetProvider', { params: { name }, body: how }),
      reconcile: (name, given) =>
        call('reconcileProvider', { params: { name }, query: given?.reclaimOrphans === true ? { reclaimOrphans: 'true' } : {} }),
    },
    leases: leasesOf(caller),
    runs: runsOf(caller),
    workers: {
      get: (id) => call('getWorker', { params: { id } }),
      list: (query = {}) => call('listWorkers', { query }),
      terminate: (id, how = {}) => call('terminateWorker', { params: { id }, body: how }),
      cordon: (id, how = {}) => call('cordonWorker', { params: { id }, body: how }),
      uncordon: (id, how = {}) => call('uncordonWorker', { params: { id }, body: how }),
      forget: (id, how) => call('forgetWorker', { params: { id }, body: how }),
      exec: (id, body, given) => call('execInWorker', { params: { id }, body, ...keyed(given) }),
      ...reachOf(caller),
      ...terminalOf(caller),
    },
    storage: () => call('storage', {}),
    backup: ({ signal, ...body } = {}) =>
      caller.open('createBackup', {
        body,
        silenceMs: COPY_MS,
        headers: { accept: 'application/x-tar' },
        ...picked({ signal }),
      }),
    tokens: {
      create: (body, given) => call('createToken', { body, ...keyed(given) }),
      list: async () => {
        const all: Token[] = []
        for (let before: string | undefined; ;) {
          const { items: some, next } = await call('listTokens', { query: before === undefined ? {} : { before } })
          all.push(...some)
          if (next === undefined) return all
          before = next
        }
      },
      revoke: (id) => call('revokeToken', { params: { id } }),
    },
  }
}

function leasesOf({ call }: Caller): MusterClient['leases'] {
  return {
    create: (body, given) => call('createLease', { body, ...keyed(given) }),
    get: (id) => call('getLease', { params: { id } }),
    list: (query = {}) => call('listLeases', { query }),
    wait: async (id, { until = 'active', ...given } = {}) => {
      const order: Lease['state'][] = ['queued', 'assigned', 'active', 'ended']
      for (;;) {
        const answer = await call('waitLease', { params: { id }, query: { until, timeoutMs: POLL_MS }, ...picked(given) })
        if (order.indexOf(answer.lease.state) >= order.indexOf(until)) return answer
      }
    },
    renew: (id, ttlMs) => call('renewLease', { params: { id }, body: ttlMs === undefined ? {} : { ttlMs } }),
    release: (id, how = {}) => call('releaseLease', { params: { id }, body: how }),
  }
}

function runsOf(caller: Caller): MusterClient['runs'] {
  const { call } = caller
  return {
    create: (body, given) => call('createRun', { body, ...keyed(given) }),
    get: (id) => call('getRun', { params: { id } }),
    list: (query = {}) => call('listRuns', { query }),
    wait: async (id, { until = 'ended', ...given } = {}) => {
      const order: Run['state'][] = ['uploading', 'queued', 'starting', 'running', 'collecting', 'ended']
      for (;;) {
        const run = await call('waitRun', { params: { id }, query: { until, timeoutMs: POLL_MS }, ...picked(given) })
        if (order.indexOf(run.state) >= order.indexOf(until)) return run
      }
    },
    cancel: (id, { signal, ...how } = {}) => call('cancelRun', { params: { id }, body: how, ...picked({ signal }) }),
    logs: (id, given) => readLog(caller, id, given),
    logState: (id) => call('getLogState', { params: { id } }),
    putInput: (id, input) => putInput(caller, { run: id, ...input }),
    getOutput: (id, name, given) => getOutput(caller, { run: id, name, ...picked(given) }),
    saveOutput: (id, output) => saveOutput(caller, { run: id, ...output }),
    stdin: (id, source, given) => sendStdin(caller, id, { source, ...picked(given) }),
  }
}

function picked(given: { signal?: AbortSignal | undefined } = {}): { signal?: AbortSignal } {
  return given.signal === undefined ? {} : { signal: given.signal }
}

function keyed({ key = randomUUID(), traceparent, ...given }: Creating = {}): Pick<CallInput<'listPools'>, 'signal' | 'headers'> {
  return { headers: { 'idempotency-key': key, ...(traceparent === undefined ? {} : { traceparent }) }, ...picked(given) }
}
