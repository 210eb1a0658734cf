/** The API of an engine over a scripted vendor, listening on both its addresses: a daemon without processes. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Apply } from '../../apply.ts'
import type { Dev } from '../../dev.ts'
import type { Upgrade } from '../../upgrade.ts'
import { startRuns } from '../../engine/runs/index.ts'
import type { Runs } from '../../engine/runs-api.ts'
import type { GuardedProvider } from '../../plugins/api.ts'
import { type Harness, openHarness, poolConfig } from '../../engine/testing/harness.ts'
import type { DoorLimits } from '../doors.ts'
import type { LimitOptions } from '../limits.ts'
import type { ApiObserver } from '../deps.ts'
import { adminTokenPath } from '../tokens.ts'
import { type Api, startApi } from '../server.ts'
import { type FakeRuns, fakeRuns } from './fake-runs.ts'

export interface TestDaemon extends AsyncDisposable {
  readonly dir: string
  readonly harness: Harness
  /** Tickets of the agents that the vendor has now, by worker. */
  tickets(): Map<string, string>
  readonly runs: FakeRuns
  readonly api: Api
  /** What applying the configuration leads to. Default: nothing differs. */
  apply: Apply
  /** What an upgrade of a plugin leads to. Default: it is what runs. */
  upgrade: Upgrade
  /** What is attached for development. Default: all is. */
  dev: Dev
  readonly token: string
  /** Lines of the log. */
  readonly log: Record<string, unknown>[]
  /** Asks over TCP with the admin token; other headers on top. */
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>
  /** Ends the API and starts it again on the same data and port. */
  restart(): Promise<void>
  stop(): Promise<void>
  start(): Promise<void>
}

export interface AskOptions {
  body?: unknown
  headers?: Record<string, string>
  /** null: none. */
  token?: string | null
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** Of a JSON body. */
  json: Record<string, unknown>
}

export interface DaemonOptions {
  /** The run driver itself, instead of runs that do what a test tells them. */
  realRuns?: boolean
  limits?: Partial<LimitOptions> & DoorLimits
  /** That may be open, as the API takes it. */
  openFiles?: number
  observer?: ApiObserver
  /** With a pool `agents`, whose workers run one. */
  agents?: boolean
}

/** Workers that take any tar, give a small one, and say back what they hear at each port. */
const reachable: Pick<GuardedProvider, 'copyIn' | 'copyOut' | 'forward'> = {
  copyIn: async (_target, { tar }) => {
    for await (const _chunk of tar);
  },
  copyOut: async function* () {
    yield Buffer.alloc(1024)
  },
  forward: (_target, { input }) => input,
}

/** Some are kept ready, so that there is always a ticket. */
const agentPool = poolConfig({ name: 'agents', placement: ['two'], work: 'agent', scale: { max: 12, warm: 3 } })

export async function startTestDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const { realRuns = false, limits = {}, openFiles, observer, agents = false } = options
  const dir = mkdtempSync(join(tmpdir(), 'muster-api-'))
  const harness = await openHarness({
    pools: [
      poolConfig({ worker: { env: { FROM_POOL: 'pool-canary' } } }),
      poolConfig({ name: 'full', scale: { max: 1 } }),
      ...(agents ? [agentPool] : []),
    ],
    providers: [
      { name: 'one', readyMs: 0, capabilities: { copy: { in: true, out: true, afterExit: false }, forward: true } },
      ...(agents ? [{ name: 'two', readyMs: 0, capabilities: { work: ['agent' as const] } }] : []),
    ],
    engine: { urls: { two: 'http://127.0.0.1:7420' } },
  })
  Object.assign(harness.provider(), reachable)
  const runs = fakeRuns(() => harness.engine.store)
  let apply: Apply = async () => ({ changes: [], problems: [], applied: false })
  let upgrade: Upgrade = async (alias) => ({
    ...{ alias, before: '1.0.0', after: '1.0.0', lost: [], kept: [], problems: [] },
    ...{ steps: [{ step: 'verify', ok: true, fact: 'it is what runs' }], go: true, switched: false },
  })
  let dev: Dev = {
    attach: async ({ name, until }) => ({ attached: { name, version: '1.0.0', until, changed: true }, problems: [] }),
    detach: async () => undefined,
  }
  const log: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => void log.push(JSON.parse(line) as Record<string, unknown>) })
  const driver = realRuns ? await startDriver(harness, dir) : undefined
  let port = 0
  const start = async (): Promise<Api> => {
    const started = await startApi({
      engine: harness.engine,
      runs: driver ?? runs,
      apply: (how) => apply(how),
      upgrade: (alias, how) => upgrade(alias, how),
      dev: { attach: (...asked) => dev.attach(...asked), detach: (...asked) => dev.detach(...asked) },
      dataDir: dir,
      listen: { host: '127.0.0.1', port },
      version: '1.2.3',
      log: logger,
      ...(observer === undefined ? {} : { observer }),
      ...(openFiles === undefined ? {} : { openFiles }),
      limits,
    })
    port = Number(new URL(started.url).port)
    return started
  }
  let api = await start()
  const token = readFileSync(adminTokenPath(dir), 'utf8').trim()
  return {
    dir,
    harness,
    runs,
    token,
    log,
    tickets: () =>
      new Map(
        (agents ? [...harness.provider('two').vendor.workers] : []).flatMap(([id, { spec }]) =>
          spec.work.mode === 'agent' ? [[id, spec.work.ticket.$secret] as const] : [],
        ),
      ),
    get api() {
      return api
    },
    get apply() {
      return apply
    },
    set apply(next) {
      apply = next
    },
    get upgrade() {
      return upgrade
    },
    set upgrade(next) {
      upgrade = next
    },
    get dev() {
      return dev
    },
    set dev(next) {
      dev = next
    },
    ask: async (method, path, { body, headers = {}, token: other = token } = {}) => {
      const bytes = body === undefined || body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body))
      const answer = await send(`${api.url}${path}`, {
        method,
        headers: {
          ...(body === undefined || body instanceof Uint8Array ? {} : { 'content-type': 'application/json' }),
          ...(bytes === undefined ? {} : { 'content-length': String(bytes.length) }),
          ...(other === null ? {} : { authorization: `Bearer ${other}` }),
          ...headers,
        },
        bytes,
      })
      const text = Buffer.concat(await answer.toArray()).toString()
      const isJson = answer.headers['content-type']?.includes('json') === true && !text.includes('\n')
      return {
        status: answer.statusCode ?? 0,
        headers: answer.headers,
        text,
        json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
      }
    },
    restart: async () => {
      await api.close()
      api = await start()
    },
    stop: () => api.close(),
    start: async () => {
      api = await start()
    },
    [Symbol.asyncDispose]: async () => {
      await api.close()
      await driver?.stop()
      await harness.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

function startDriver(harness: Harness, dataDir: string): Promise<Runs> {
  return startRuns({
    engine: harness.engine,
    dataDir,
    killpoint: () => undefined,
    report: (message, data) => harness.reports.push({ message, error: data }),
  })
}

/** A connection of its own for each, so that none outlives the daemon. */
function send(
  url: string,
  { bytes, ...options }: { method: string; headers: Record<string, string>; bytes: Uint8Array | undefined },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ...options, agent: false }, resolve)
    asked.on('error', reject)
    asked.end(bytes)
  })
}
