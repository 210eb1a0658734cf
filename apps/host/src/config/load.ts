/** `muster.yaml` read, checked by its schema, given its defaults, and frozen. */
import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Resources } from '@muster/core'
import type { PoolConfig, WorkerTemplate } from '../engine/model.ts'
import type { OtlpSettings } from '../observe/otlp.ts'
import { defaultUsers, type UserRange } from '../plugins/ground.ts'
import { type ListenAddress, parseAddress, urlHost } from './address.ts'
import { type Loaded, loadDocument } from './document.ts'
import type { Path } from './keep.ts'
import type { NetworkSettings } from './network.ts'
import type { Problem } from './problem.ts'
import { readinessOf, serviceOf } from './readiness.ts'
import type { TlsFiles } from './tls.ts'
import type { PoolFile, WorkerFile } from './pool-schema.ts'
import { fileSchema, type MusterFile, type OtlpFile, type RequestLimits } from './schema.ts'

/** Four times what each plugin of this repository asks for: room for the largest SDKs, and not for all the memory of a machine. */
const maxHeapMb = 1024

export interface ProviderConfig {
  name: string
  alias: string
  config: unknown
  url?: string
  /** How often what its workers use is looked at. Absent: the usual. */
  stats?: number | 'off'
  secrets: Record<string, { env: string } | { file: string }>
}

export interface MusterConfig {
  /** Absolute path of the file. */
  file: string
  /** Absolute path of the data folder. */
  data: string
  listen: { host: string; port: number }
  /** How workers reach this host, where their provider says nothing else; absent: by the API's own address. */
  url?: string
  /** Absent: in clear. */
  tls?: TlsFiles
  /** `path` absolute; absent: in the data folder. */
  socket: { path?: string; mode: number }
  metrics: { public: boolean; listen?: { host: string; port: number } }
  otlp?: OtlpSettings
  /** Absent: directly, and by the usual authorities. */
  network?: NetworkSettings
  isolation: { users: UserRange | 'off'; maxHeapMb: number }
  /** Plugins under development may be attached. */
  development: boolean
  /** Absolute path of the registry manifest. */
  pluginsFile: string
  reconcileMs: number
  orphanGraceMs: number
  /** Absent ones: the API's own. */
  limits: RequestLimits
  providers: ProviderConfig[]
  pools: PoolConfig[]
  retention: RetentionConfig
}

/** Every kind by age and by number or size. */
export interface RetentionConfig {
  runsMs: number
  records: number
  logsBytes: number
  logsMs: number
  journalMs: number
  journalRows: number
  crashes: number
  crashesMs: number
  tokensMs: number
  replacedMs: number
  unpackedMs: number
}

export interface LoadedConfig {
  config?: MusterConfig
  /** With `config`: the file as written. */
  written?: unknown
  /** With problems: what is right of the file, to be checked further but never to be run, and what is missing in it. */
  partial?: { config: MusterConfig; dropped: readonly Path[] }
  problems: Problem[]
  problem: Loaded<MusterFile>['problem']
}

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** A file that cannot be read is a problem too, at its first position. */
export async function loadConfig(path: string): Promise<LoadedConfig> {
  const file = resolve(path)
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    const problem = unreadable(path, error)
    return { problems: [problem], problem: () => problem }
  }
  if (isUtf8(bytes)) return parseConfig(file, bytes.toString('utf8'), path)
  const problem = { file: path, ...firstForeign(bytes), reason: 'the file is not UTF-8', fix: 'save it as UTF-8' }
  return { problems: [problem], problem: () => problem }
}

/** Where the first byte stands that cannot be read: a sign that is none takes its place there. */
function firstForeign(bytes: Buffer): { line: number; column: number } {
  const lines = bytes.toString('latin1').split('\n')
  const line = lines.findIndex((one) => !isUtf8(Buffer.from(one, 'latin1')))
  const text = Buffer.from(lines[line] ?? '', 'latin1').toString('utf8')
  return { line: line + 1, column: text.indexOf('\ufffd') + 1 }
}

/** As {@link loadConfig}, from text; `shown` is the name used in problems. */
export function parseConfig(file: string, text: string, shown: string = file): LoadedConfig {
  const loaded = loadDocument(shown, text, fileSchema)
  const { problems, problem, kept } = loaded
  if (loaded.value === undefined) {
    if (kept === undefined) return { problems, problem }
    return { problems, problem, partial: { config: resolveConfig(file, kept.value), dropped: kept.dropped } }
  }
  return { config: resolveConfig(file, loaded.value), written: loaded.written, problems, problem }
}

function unreadable(file: string, error: unknown): Problem {
  const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
  const reason = missing ? 'the file does not exist' : `the file cannot be read: ${(error as Error).message}`
  return {
    file,
    line: 1,
    column: 1,
    reason,
    fix: missing ? 'create it, or name another with -c' : 'give this user the right to read it',
  }
}

function resolveConfig(file: string, value: MusterFile): MusterConfig {
  const base = dirname(file)
  const host = value.host ?? {}
  const keep = value.retention ?? {}
  return freeze({
    file,
    data: resolve(base, host.data ?? '.muster'),
    listen: addressOf(host.listen ?? '127.0.0.1:7420'),
    ...(host.url === undefined ? {} : { url: host.url }),
    ...(host.tls === undefined ? {} : { tls: { cert: resolve(base, host.tls.cert), key: resolve(base, host.tls.key) } }),
    socket: {
      mode: Number.parseInt(host.socket?.mode ?? '0600', 8),
      ...(host.socket?.path === undefined ? {} : { path: resolve(base, host.socket.path) }),
    },
    metrics: {
      public: host.metrics?.public ?? false,
      ...(host.metrics?.listen === undefined ? {} : { listen: addressOf(host.metrics.listen) }),
    },
    ...(host.telemetry?.otlp === undefined ? {} : { otlp: otlpOf(base, host.telemetry.otlp) }),
    ...(host.network === undefined ? {} : { network: networkOf(base, host.network) }),
    isolation: { users: host.isolation?.users ?? defaultUsers, maxHeapMb: host.isolation?.maxHeapMb ?? maxHeapMb },
    development: host.development ?? false,
    pluginsFile: resolve(base, host.plugins ?? 'plugins.json'),
    // Watch carries most changes; the full pass repairs what it missed, so it need not be often.
    reconcileMs: host.reconcile ?? 30 * second,
    orphanGraceMs: host.orphanGrace ?? 2 * minute,
    limits: host.limits ?? {},
    providers: Object.entries(value.providers).map(([name, given]) => ({
      name,
      alias: given.plugin,
      config: given.config ?? {},
      secrets: given.secrets ?? {},
      ...(given.url === undefined ? {} : { url: given.url }),
      ...(given.stats === undefined ? {} : { stats: given.stats }),
    })),
    pools: Object.entries(value.pools).map(([name, given]) => resolvePool(name, given)),
    retention: {
      runsMs: keep.runs ?? 30 * day,
      // About 1 GB of records, and 2 GB of journal (six rows for each worker).
      records: keep.records ?? 500_000,
      logsBytes: keep.logs ?? 10 * 2 ** 30,
      logsMs: keep.logAge ?? keep.runs ?? 30 * day,
      journalMs: keep.journal ?? 90 * day,
      journalRows: keep.journalRows ?? 5_000_000,
      crashes: keep.crashes ?? 20,
      crashesMs: keep.crashAge ?? 90 * day,
      tokensMs: keep.tokens ?? 90 * day,
      replacedMs: keep.replaced ?? 90 * day,
      unpackedMs: keep.unpacked ?? 30 * day,
    },
  })
}

/**
 * How the workers of a provider reach this host; undefined where nobody can tell: the port is one that the system chooses. Without a slash
 * at its end.
 */
export function urlFor(
  provider: Pick<ProviderConfig, 'url'>,
  { url, listen: { host, port }, tls }: Pick<MusterConfig, 'url' | 'listen' | 'tls'>,
): string | undefined {
  const given = provider.url ?? url
  if (given !== undefined) return given.replace(/\/+$/, '')
  return port === 0 ? undefined : `${tls === undefined ? 'http' : 'https'}://${urlHost(host)}:${port}`
}

/** The schema has read it once already. */
function addressOf(text: string): ListenAddress {
  return parseAddress(text) ?? { host: text, port: Number.NaN }
}

function otlpOf(base: string, { url, headers = {}, sample = 1 }: OtlpFile): OtlpSettings {
  const placed = Object.entries(headers).map(([name, value]) => [
    name,
    typeof value === 'object' && 'file' in value ? { file: resolve(base, value.file) } : value,
  ])
  return { url, headers: Object.fromEntries(placed) as OtlpSettings['headers'], sample }
}

function networkOf(base: string, { proxy, ca, ...same }: NetworkSettings): NetworkSettings {
  return {
    ...same,
    ...(proxy === undefined
      ? {}
      : { proxy: typeof proxy === 'object' && 'file' in proxy ? { file: resolve(base, proxy.file) } : proxy }),
    ...(ca === undefined ? {} : { ca: resolve(base, ca) }),
  }
}

function resolvePool(name: string, given: PoolFile): PoolConfig {
  const worker = given.worker ?? {}
  const scale = given.scale ?? {}
  return {
    name,
    placement: given.placement,
    work: worker.work ?? 'auto',
    worker: templateOf(worker),
    lifetimeMs: worker.lifetime ?? 6 * hour,
    graceMs: worker.grace ?? 10 * second,
    startDeadlineMs: worker.start ?? 5 * minute,
    scale: { min: scale.min ?? 0, max: scale.max ?? 10, warm: scale.warm ?? 0, idleMs: scale.idle ?? 5 * minute },
    uses: given.uses ?? 1,
    queueTimeoutMs: given.queue ?? hour,
    ...(given.keepFailed === undefined ? {} : { keepFailedMs: given.keepFailed }),
    credentials: given.credentials ?? [],
  }
}

/** The parts of a worker's section that go into its spec. */
function templateOf(worker: WorkerFile): WorkerTemplate {
  const { work: _work, lifetime: _lifetime, grace: _grace, start: _start, resources, readiness, services, ...same } = worker
  return {
    ...same,
    ...(resources === undefined ? {} : { resources: resourcesOf(resources) }),
    ...(readiness === undefined ? {} : { readiness: readinessOf(readiness) }),
    ...(services === undefined ? {} : { services: services.map(serviceOf) }),
  }
}

function resourcesOf(given: NonNullable<WorkerFile['resources']>): Resources {
  const { memory, disk, ...same } = given
  return {
    ...same,
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(disk === undefined ? {} : { diskBytes: disk }),
  }
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) freeze(inner)
  }
  return value
}
