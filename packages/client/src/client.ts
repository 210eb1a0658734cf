/** The client of a daemon: every operation of its API as a function, streams as async iterables. */
import { randomUUID } from 'node:crypto'
import { type CallInput, type Caller, createCaller, type OperationName } from './call.ts'
import { type EventOptions, readEvents } from './events.ts'
import type {
  Artifact,
  Condition,
  Decision,
  ExecRequest,
  Lease,
  LeaseAnswer,
  LeasePage,
  LeaseRequest,
  LogState,
  Operations,
  Pool,
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
import { sendStdin } from './stdin.ts'
import { getOutput, type Output, putInput, saveOutput } from './transfer.ts'
import { type Address, openTransport } from './transport.ts'

export interface Waiting {
  signal?: AbortSignal
}

export interface Creating extends Waiting {
  /** Makes a repeated call one; a random one by default, so that a call that is repeated while the daemon restarts creates nothing twice. */
  key?: string
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
    saveOutput(id: string, output: Waiting & { name: string; target: string }): Promise<string | undefined>
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
  }
  readonly tokens: {
    /** The text of the token is given this once. */
    create(request: Body<'createToken'>): Promise<{ token: string; details: Token }>
    list(): Promise<Token[]>
    revoke(id: string): Promise<void>
  }
  /** Lets go of idle connections. */
  close(): void
}

/** One long poll. The server's most is 60 s. */
const POLL_MS = 30_000

/** Connects to nothing yet: the first call does. `patienceMs`: how long calls are repeated while the daemon is away; default a minute. */
export function connect(address: Address, options: { patienceMs?: number } = {}): MusterClient {
  const transport = openTransport(address)
  const caller = createCaller(transport, options)
  const { call } = caller
  const items = async <T>(answer: Promise<{ items: T[] }>): Promise<T[]> => (await answer).items
  return {
    address: transport.name,
    close: transport.close,
    version: (given) => call('version', picked(given)),
    conditions: () => items(call('listConditions', {})),
    why: (kind, id, limit) => items(call('why', { params: { kind, id }, query: limit === undefined ? {} : { limit } })),
    events: (given) => readEvents(caller, given),
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
    },
    tokens: {
      create: (body) => call('createToken', { body }),
      list: () => items(call('listTokens', {})),
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

function keyed({ key = randomUUID(), ...given }: Creating = {}): Pick<CallInput<'listPools'>, 'signal' | 'headers'> {
  return { headers: { 'idempotency-key': key }, ...picked(given) }
}
