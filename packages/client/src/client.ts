/** The client of a daemon: every operation of its API as a function, streams as async iterables. */
import { randomUUID } from 'node:crypto'
import { type CallInput, type Caller, type ConnectOptions, createCaller } from './call.ts'
import { readEvents } from './events.ts'
import type { Decision, Lease, Run, Token } from './generated/api.ts'
import { readLog } from './log-stream.ts'
import { reachOf } from './reach.ts'
import { terminalOf } from './terminal.ts'
import { sendStdin } from './stdin.ts'
import { getOutput, putInput, saveOutput } from './transfer.ts'
import { type Address, openTransport } from './transport.ts'
import type { Creating, MusterClient } from './muster-client.ts'

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
  const story: MusterClient['story'] = async (kind, id, limit = WHY_DEFAULT) => {
    let decisions: Decision[] = []
    for (let before: string | undefined; ;) {
      const query = { limit: Math.min(limit - decisions.length, WHY_PAGE), ...(before === undefined ? {} : { before }) }
      const { items: some, next, droppedBefore } = await call('why', { params: { kind, id }, query })
      decisions = [...some, ...decisions]
      if (next === undefined || decisions.length >= limit)
        return { decisions, earlier: next !== undefined, ...(droppedBefore === undefined ? {} : { droppedBefore }) }
      before = next
    }
  }
  return {
    address: transport.name,
    close: transport.close,
    version: (given) => call('version', picked(given)),
    conditions: () => items(call('listConditions', {})),
    why: async (...asked) => (await story(...asked)).decisions,
    story,
    events: (given) => readEvents(caller, given),
    apply: (how = {}, given = {}) => call('applyConfig', { body: how, ...given }),
    plugins: {
      upgrade: (name, how = {}, given = {}) => call('upgradePlugin', { params: { name }, body: how, ...given }),
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
